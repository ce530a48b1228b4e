"""A trainer's log as the marker keeps it: one row a logged step, one row an evaluation, our names, only numbers.

What is not a number at a step (a margin of a batch without rejected rows) is left out of its row.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from detox_ray.config import TrainConfig
from detox_ray.train.evaluation_schedule import best, evaluations

Row = dict[str, float]

KL = "eval_kl_to_parent"  # under which kl_divergence.py puts what it measures

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
_BY_METHOD = {  # means something, or something else, for these only
    "kto": {"kl": "kl_estimate"},  # TRL's: of unmatched prompts and completions, clipped at 0, nats per completion
    "orpo": {"log_odds_ratio": "log_odds_ratio", "nll_loss": "likelihood_loss"},
    "cpo": {"nll_loss": "likelihood_loss"},
}
_WITH_REFERENCE = ("dpo", "kto")  # their reward is beta x log(policy / reference) of the completion


def named(row: Mapping[str, Any], config: TrainConfig) -> Row:
    """One row of a trainer's log in our words, without its step. An evaluation's has no prefix."""
    evaluation = any(name.startswith("eval_") for name in row)
    found: Row = {}
    for its, ours in {**_NAMES, **_BY_METHOD.get(config.method, {})}.items():
        value = row.get(f"eval_{its}" if evaluation and its != "epoch" else its)
        if value is not None and math.isfinite(value):
            found[ours] = float(value)
    for side in ("chosen", "rejected"):
        reward = found.pop(f"{side}_reward", None)
        if reward is not None and config.method in _WITH_REFERENCE and config.beta:
            found[f"{side}_log_ratio"] = reward / config.beta  # log(policy / reference), nats per completion
    if KL in row:
        found["kl_to_parent"] = float(row[KL])
    return found


def training(log: Sequence[Mapping[str, Any]], config: TrainConfig) -> list[Row]:
    """A row per logged step: means since the one before (of ``grad_norm`` and ``learning_rate`` the step's own)."""
    return [{"step": row["step"], **named(row, config)} for row in log if "loss" in row]


def validation(log: Sequence[Mapping[str, Any]], config: TrainConfig) -> list[Row]:
    """A row per evaluation."""
    return [{"step": row["step"], **named(row, config)} for row in log if "eval_loss" in row]


def ending(log: Sequence[dict[str, Any]], steps: int, planned: int, config: TrainConfig) -> dict[str, Any]:
    """How a training that took ``steps`` of ``planned`` steps ended, and of which step the kept weights are."""
    evaluated = evaluations(log)
    number = best([loss for _, loss in evaluated]) if evaluated else None
    best_step = None if number is None else evaluated[number][0]
    return {
        "stopped": "early" if steps < planned else "planned",
        "planned_steps": planned,
        "best_step": best_step,
        "kept_step": best_step if config.keep == "best" and best_step is not None else steps,
    }
