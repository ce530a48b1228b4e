"""What the trainer does between steps besides training: report checkpoints, note progress, stop on a lost loss."""

import math
from pathlib import Path
from typing import Any

import ray.train
import torch.distributed
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class ReportCheckpoints(TrainerCallback):
    """Hand each checkpoint to Ray Train.

    All ranks must have written their part before one of them uploads the folder; without the barrier this raced about
    once in 20 runs (Ray's own callback does). One process a node uploads, the others only report.
    """

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if state.global_step >= state.max_steps:
            control.should_save = False  # the result is saved next; a resumed trainer could not take zero steps
        if control.should_save:
            control.should_log = True  # the log's running means are not in the checkpoint: close them first
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        metrics = {"step": state.global_step}
        torch.distributed.barrier()
        if ray.train.get_context().get_local_rank() == 0:
            assert args.output_dir is not None
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            ray.train.report(
                metrics,
                checkpoint=ray.train.Checkpoint.from_directory(folder),
                delete_local_checkpoint_after_upload=True,
            )
        else:
            ray.train.report(metrics)


class NoteProgress(TrainerCallback):
    """Rank 0 notes steps and loss on the board; every rank stops when the loss is no number."""

    def __init__(self, board: Any, rank: int):
        self._board, self._rank = board, rank

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._rank == 0:
            self._board.begin.remote(state.max_steps, state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._rank == 0:
            self._board.at.remote(state.global_step, "")

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss became {loss} at step {state.global_step}: lower learning_rate or max_grad_norm, "
                "or use float32"
            )
        if self._rank == 0:
            self._board.at.remote(state.global_step, f"loss {loss:.4f}")
