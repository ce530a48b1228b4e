"""Callbacks of the trainer: report checkpoints to Ray Train, losses to trackers, and progress to the board.

Only Ray Train's workers import this module.
"""

from pathlib import Path
from typing import Any

import ray.train
import torch.distributed
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from detox_ray.config import TrainConfig
from detox_ray.train import checkpoints
from detox_ray.train.evaluation_schedule import best, evaluations
from detox_ray.train.loss_curves import named
from detox_ray.train.tracking import Trackers
from detox_ray.train.training_job import BEST_STEP, TrainWorker


class ReportCheckpoints(TrainerCallback):
    """Reports each checkpoint to Ray Train.

    All ranks must have written their part before one of them uploads the folder. Without the barrier, as in Ray's own
    callback, about one run in 20 lost this race. One process per node uploads; the others only report.

    The metric ``best_step`` ranks the latest best checkpoint above all others when Ray Train decides which to keep.
    """

    def __init__(self, worker: TrainWorker, keep_best: bool):
        self._worker, self._keep_best = worker, keep_best

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        evaluated = evaluations(state.log_history)
        is_best = bool(evaluated) and evaluated[best([loss for _, loss in evaluated])][0] == state.global_step
        metrics = {"step": state.global_step, BEST_STEP: state.global_step if self._keep_best and is_best else 0}
        torch.distributed.barrier()
        if self._worker.local_rank == 0:
            assert args.output_dir is not None
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            workers_of_node = ray.train.get_context().get_local_world_size()
            checkpoints.seal(folder, state.global_step, self._worker.rank, workers_of_node, self._worker.world_size)
            ray.train.report(
                metrics,
                checkpoint=ray.train.Checkpoint.from_directory(folder),
                delete_local_checkpoint_after_upload=True,
            )
        else:
            ray.train.report(metrics)


class TrackLosses(TrainerCallback):
    """Passes the trainer's log to the trackers, on rank 0.

    It must be called before `ReportCheckpoints`, so that the log up to a checkpoint is saved before the checkpoint
    counts.
    """

    def __init__(self, trackers: Trackers, config: TrainConfig):
        self._trackers, self._config = trackers, config

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._trackers.begin(state.global_step)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if "loss" in state.log_history[-1]:
            self._log("train", state)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._log("validation", state)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._trackers.keep(state.global_step)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._trackers.finish(state.global_step)

    def _log(self, part: str, state: TrainerState) -> None:
        values = named(state.log_history[-1], self._config)
        self._trackers.log(state.global_step, {f"{part}/{name}": value for name, value in values.items()})


class NoteProgress(TrainerCallback):
    """Reports steps and losses to the progress board, on rank 0."""

    def __init__(self, board: Any, rank: int):
        self._board, self._rank = board, rank

    def on_reference_pass(self, done: int, total: int) -> None:
        """Report the progress of the reference. `reference_logps` calls this; it is not an event of transformers."""
        if self._rank == 0:
            self._board.set_reference.remote(done, total)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._rank == 0:
            self._board.begin.remote(state.max_steps, state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._rank == 0:
            self._board.set_step.remote(state.global_step, "")

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        for name, words in (("loss", "loss"), ("eval_loss", "validation loss")):
            value = (logs or {}).get(name)
            if self._rank == 0 and value is not None:
                self._board.set_step.remote(state.global_step, f"{words} {value:.4f}")
