"""A check that stops a training at a step whose loss or gradient is not finite, and names the rows of that step.

All ranks learn of it through one all-reduce per forward pass, so that they stop together and none waits for another.
Only workers import this module.
"""

import math
from typing import Any

import torch
import torch.distributed
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

SHOWN = 16  # rows that the message names
ADVICE = "lower learning_rate or max_grad_norm, or use float32"


def stop_at_nonfinite(trainer: Any, gradients: bool) -> None:
    """Make ``trainer.train()`` raise FloatingPointError on every rank if a loss or a gradient is not finite.

    Every loss is checked before its backward pass and, with ``gradients``, the norm after each step. ``gradients`` must
    be off if infinite norms are part of the method: float16 with loss scaling skips such steps.
    """
    compute = trainer.compute_loss

    def checked(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        answer = compute(model, inputs, *args, **kwargs)
        loss = answer[0] if isinstance(answer, tuple) else answer
        if model.training and not _finite_everywhere(loss.detach()):
            raise FloatingPointError(_error_message("loss", loss.detach().float().mean().item(), trainer, 1))
        return answer

    trainer.compute_loss = checked
    if gradients:
        trainer.add_callback(_CheckGradientNorm(trainer))


class _CheckGradientNorm(TrainerCallback):
    """Checks the global norm, by which DeepSpeed clips: one gradient that is not finite would spoil every weight."""

    def __init__(self, trainer: Any):
        self._trainer = trainer

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        norm = self._trainer.model_wrapped.get_global_grad_norm()
        norm = norm.item() if isinstance(norm, torch.Tensor) else norm
        if norm is not None and not math.isfinite(norm):  # the same on every rank
            raise FloatingPointError(_error_message("gradient", norm, self._trainer, 0))


def _finite_everywhere(loss: torch.Tensor) -> bool:
    finite = torch.isfinite(loss).all().float()
    torch.distributed.all_reduce(finite, torch.distributed.ReduceOp.MIN)
    return bool(finite.item())


def _error_message(what: str, value: float, trainer: Any, ahead: int) -> str:
    """Return the error message, with the rows of the ranks on which it happened. Every rank must call this."""
    all_ranks: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(all_ranks, (value, list(trainer.rows_of_step())))
    failed = [(value, rows) for value, rows in all_ranks if not math.isfinite(value)]
    rows = list(dict.fromkeys(row for _, rows_of_rank in failed for row in rows_of_rank))
    shown = ", ".join(rows[:SHOWN]) + (f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else "")
    return f"the {what} became {failed[0][0]} at step {trainer.state.global_step + ahead} (rows: {shown}): {ADVICE}"
