"""Loss curves: the trainer's log in the form that the result's marker stores.

There is one row for each logged step and one for each evaluation, with our own names. A value that is not a number,
such as the margin in a batch without rejected rows, is left out of its row.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from detox_ray.config import TrainConfig
from detox_ray.train.evaluation_schedule import best, evaluations

Row = dict[str, float]

KL = "eval_kl_to_parent"  # the name under which kl_divergence.py logs its result

# TRL's name -> ours
_NAMES = {
    "epoch": "epoch",
    "loss": "loss",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "rewards/margins": "reward_margin",
    "rewards/accuracies": "reward_accuracy",
    "rewards/chosen": "chosen_reward",
    "rewards/rejected": "rejected_reward",
    "mean_token_accuracy": "token_accuracy",
}
_BY_METHOD = {  # names that only these methods have, or that mean something else for them
    "kto": {"kl": "kl_estimate"},  # TRL's, from unmatched prompts and completions, clipped at 0, in nats per completion
    "dpo": {"preference_loss": "preference_loss", "nll_loss": "likelihood_loss"},  # parts of the loss, with sft_weight
    "orpo": {"log_odds_ratio": "log_odds_ratio", "nll_loss": "likelihood_loss"},
    "cpo": {"nll_loss": "likelihood_loss"},
}
_WITH_REFERENCE = ("dpo", "kto")  # their reward is beta x log(policy / reference) of the completion


def named(row: Mapping[str, Any], config: TrainConfig) -> Row:
    """Return one row of a trainer's log with our names, without its step and without the prefix of evaluations."""
    evaluation = any(name.startswith("eval_") for name in row)
    named_row: Row = {}
    for theirs, ours in {**_NAMES, **_BY_METHOD.get(config.method, {})}.items():
        value = row.get(f"eval_{theirs}" if evaluation and theirs != "epoch" else theirs)
        if value is not None and math.isfinite(value):
            named_row[ours] = float(value)
    for side in ("chosen", "rejected"):
        reward = named_row.pop(f"{side}_reward", None)
        if reward is not None and config.method in _WITH_REFERENCE and config.beta:
            named_row[f"{side}_log_ratio"] = reward / config.beta  # log(policy / reference), nats per completion
    if KL in row:
        named_row["kl_to_parent"] = float(row[KL])
    return named_row


def training(log: Sequence[Mapping[str, Any]], config: TrainConfig) -> list[Row]:
    """Return a row per logged step: means since the previous row, but the step's own grad_norm and learning_rate."""
    return [{"step": row["step"], **named(row, config)} for row in log if "loss" in row]


def validation(log: Sequence[Mapping[str, Any]], config: TrainConfig) -> list[Row]:
    """Return a row per evaluation."""
    return [{"step": row["step"], **named(row, config)} for row in log if "eval_loss" in row]


def ending(log: Sequence[dict[str, Any]], steps: int, planned: int, config: TrainConfig) -> dict[str, Any]:
    """Return how a training of ``steps`` of ``planned`` steps ended, and the step whose weights are kept."""
    evaluated = evaluations(log)
    number = best([loss for _, loss in evaluated]) if evaluated else None
    best_step = None if number is None else evaluated[number][0]
    return {
        "stopped": "early" if steps < planned else "planned",
        "planned_steps": planned,
        "best_step": best_step,
        "kept_step": best_step if config.keep == "best" and best_step is not None else steps,
    }
