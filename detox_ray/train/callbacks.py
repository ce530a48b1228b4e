"""Callbacks of the trainer: report checkpoints to Ray Train, losses to trackers, and progress to the board.

One stops the workers before one of their nodes leaves the cluster. Only Ray Train's workers import this module.
"""

import shutil
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import ray.train
import torch.distributed
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from detox_ray.cluster.ray_internals import NodeLeavesError, stored_checkpoint
from detox_ray.config import TrainConfig
from detox_ray.train import checkpoint_files
from detox_ray.train.checkpoints import Peers
from detox_ray.train.evaluation_schedule import best, evaluations
from detox_ray.train.loss_curves import named
from detox_ray.train.tracking import Trackers
from detox_ray.train.training_job import BEST_STEP, TrainingJob, TrainWorker

ASK_S = 2.0  # between two questions whether a node leaves; each is a barrier over Ray, of some milliseconds


class ReportCheckpoints(TrainerCallback):
    """Uploads each checkpoint while the training continues, and reports it to Ray Train.

    All ranks must have written their part before one of them uploads the folder. Without the barrier, as in Ray's own
    callback, about one run in 20 lost this race. One process per node uploads; the others only report.

    At most one upload of a node is in progress. So its disk holds at most two checkpoints, and a training that saves
    faster than its storage can write waits for the storage.

    The metric ``best_step`` ranks the latest best checkpoint above all others when Ray Train decides which to keep.
    """

    def __init__(self, job: TrainingJob, worker: TrainWorker, keep_best: bool):
        self._job, self._worker, self._keep_best = job, worker, keep_best
        # A failed upload leaves it unset: Ray Train then ends this worker, and with it the thread that waits.
        self._uploaded = threading.Event()
        self._uploaded.set()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        evaluated = evaluations(state.log_history)
        is_best = bool(evaluated) and evaluated[best([loss for _, loss in evaluated])][0] == state.global_step
        metrics = {"step": state.global_step, BEST_STEP: state.global_step if self._keep_best and is_best else 0}
        torch.distributed.barrier()
        if self._worker.local_rank == 0:
            assert args.output_dir is not None
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            workers_of_node = ray.train.get_context().get_local_world_size()
            self.wait_for_upload()
            self._uploaded.clear()
            ray.train.report(
                metrics,
                checkpoint=ray.train.Checkpoint.from_directory(folder),
                checkpoint_upload_mode=ray.train.CheckpointUploadMode.ASYNC,
                checkpoint_upload_fn=partial(self._upload, state.global_step, workers_of_node),
            )
        else:
            ray.train.report(metrics)

    def wait_for_upload(self) -> None:
        """Wait until this process has uploaded its last checkpoint and removed it from the local disk."""
        self._uploaded.wait()

    def _upload(self, step: int, ranks: int, checkpoint: ray.train.Checkpoint, name: str) -> ray.train.Checkpoint:
        """Upload a checkpoint. Ray Train calls this in a thread of its own."""
        local, rank, world = Path(checkpoint.path), self._worker.rank, self._worker.world_size
        checkpoint_files.upload(local, self._job.store, f"{self._job.folder}/{name}", step, rank, ranks, world)
        shutil.rmtree(local, ignore_errors=True)
        self._uploaded.set()
        return stored_checkpoint(name)


class LeaveNodes(TrainerCallback):
    """Saves a checkpoint and stops all workers if one of their nodes is about to leave the cluster.

    Ray Train would let the workers compute until the node is gone, and the steps after the checkpoint would be lost.
    Instead, they start again on the nodes that stay. At the last step nothing is stopped, because the training
    is over anyway.

    It must be called after `ReportCheckpoints`.
    """

    def __init__(self, report: ReportCheckpoints, peers: Peers):
        self._report, self._peers = report, peers
        self._leaves = False
        self._next_step = 0  # at which all workers ask again
        self._asked: tuple[int, float] | None = None  # step and time of the last question

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.global_step < self._next_step or state.global_step >= state.max_steps:
            return
        self._next_step = self._peers.broadcast(state.global_step + self._steps_until_next(state.global_step))
        self._leaves = ray.train.get_preemption_info() is not None
        if self._leaves:
            control.should_save = True
            control.should_log = True  # a checkpoint does not contain the log's running means, so write them first

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop this worker once all nodes have uploaded their part of the checkpoint.

        Raises:
            NodeLeavesError: A node leaves.
        """
        if self._leaves:
            self._report.wait_for_upload()
            torch.distributed.barrier()
            raise NodeLeavesError

    def _steps_until_next(self, step: int) -> int:
        """Return the number of steps that take about `ASK_S`, as measured since the last question."""
        now, last, self._asked = time.monotonic(), self._asked, (step, time.monotonic())
        return 1 if last is None else max(1, int(ASK_S * (step - last[0]) / max(now - last[1], 1e-3)))


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
