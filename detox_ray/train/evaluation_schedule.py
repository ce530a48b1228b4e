"""The schedule of a training: decides after each optimizer step whether to log, evaluate, save and stop.

It decides from the trainer's log alone. The log is part of every checkpoint, so that a resumed training makes the same
decisions as an uninterrupted one.

- Evaluations take place every ``evaluate_every`` steps and at the last step. The best one is the first with the lowest
  loss.
- Patience counts as in transformers' EarlyStoppingCallback, which Li et al. 2024 used: the training stops after
  ``patience`` successive evaluations that were not the best.
- With ``keep_best``, each best step is saved as a checkpoint.
- The last step is never saved, because the result is saved next, and a resumed trainer could not take zero steps.
"""

import math
from collections.abc import Sequence
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


def best(losses: Sequence[float]) -> int:
    """Return the index of the first lowest loss."""
    return min(range(len(losses)), key=lambda number: losses[number])


def waited(losses: Sequence[float]) -> int:
    """Return the number of evaluations since the best one."""
    return len(losses) - 1 - best(losses)


def evaluations(log: Sequence[dict[str, Any]]) -> list[tuple[int, float]]:
    """Return (step, validation loss) of each evaluation in a trainer's log."""
    return [(row["step"], row["eval_loss"]) for row in log if "eval_loss" in row]


class EvaluationSchedule(TrainerCallback):
    """Decides when to log, evaluate, save and stop. It must be called before the callbacks that act on this."""

    def __init__(self, validated: bool, every: int | None, patience: int | None, keep_best: bool):
        self._validated, self._every, self._patience, self._keep_best = validated, every, patience, keep_best

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        last = state.global_step >= state.max_steps
        due = self._every is not None and state.global_step % self._every == 0
        if self._validated and (last or due):
            control.should_evaluate = True
        if last:
            control.should_save = False
        if control.should_save or control.should_evaluate:
            control.should_log = True  # a checkpoint does not contain the log's running means, so write them first
        return control

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        losses = [loss for _, loss in evaluations(state.log_history)]
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(
                f"the validation loss became {losses[-1]} at step {state.global_step}: lower learning_rate or "
                "max_grad_norm, or use float32"
            )
        stops = state.global_step >= state.max_steps
        if self._patience is not None and waited(losses) >= self._patience:
            control.should_training_stop = stops = True
        if stops:
            control.should_save = False
        elif self._keep_best and waited(losses) == 0:
            control.should_save = True
        return control
