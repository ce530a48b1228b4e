"""The function that each Ray Train worker runs.

Heavy imports are within the functions, after `deepspeed_cpu.before_imports`.
"""

import os
import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from detox_ray.config import InputError
from detox_ray.train import checkpoints, deepspeed_cpu
from detox_ray.train.training_job import Outcome, TrainingJob, TrainWorker

T = TypeVar("T")


def run_worker(settings: dict[str, Any]) -> Any:
    """Train the model. An error that would recur is put on the board.

    Args:
        settings: "job" (a TrainingJob), "board" (the actor handle of a ProgressBoard), and "nodes_may_leave" (whether
            the workers stop in order before a node of theirs leaves the cluster).

    Returns:
        The `Outcome` on rank 0; None on the others, and if the board has an error.
    """
    import ray.train

    job, board = settings["job"]._replace(node=ray.train.get_context().get_node_rank()), settings["board"]
    if ray.get(board.state.remote()).error is not None:
        return None
    try:
        with _recurring_errors_on(board):
            return _train(job, board, settings["nodes_may_leave"])
    finally:
        if ray.train.get_context().get_local_rank() == 0:
            shutil.rmtree(job.scratch, ignore_errors=True)
            shutil.rmtree(job.fetched, ignore_errors=True)


def run_export(job: TrainingJob, board: Any) -> None:
    """Export the model whose workers have ended. A task on the node of rank 0 runs this."""
    _set_up_process()
    from detox_ray.train.model_export import export

    with _recurring_errors_on(board):
        export(job)


@contextmanager
def _recurring_errors_on(board: Any) -> Iterator[None]:
    """Put an error that would recur on the board."""
    import ray

    try:
        yield
    except (RuntimeError, OSError, ray.exceptions.RayError):
        raise  # other workers also get these if a worker is lost, so Ray Train tries again
    except Exception as error:
        explains_itself = isinstance(error, (InputError, FloatingPointError))
        detail = str(error) if explains_itself else "".join(traceback.format_exception(error))
        ray.get(board.fail.remote(isinstance(error, InputError), detail))
        raise


def _set_up_process() -> None:
    os.environ["TQDM_DISABLE"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # TRL's trainers would report their use to the hub
    from detox_ray.models.transformers_internals import import_without_sklearn

    import_without_sklearn(trainer=True)


def _train(job: TrainingJob, board: Any, nodes_may_leave: bool) -> Outcome | None:
    if not job.gpu:
        deepspeed_cpu.before_imports()
    _set_up_process()
    import ray.train

    from detox_ray.train.callbacks import LeaveNodes, NoteProgress, ReportCheckpoints, TrackLosses
    from detox_ray.train.tracking import Trackers
    from detox_ray.train.train_loop import run_train_loop

    context = ray.train.get_context()
    worker = TrainWorker(context.get_world_rank(), context.get_local_rank(), context.get_world_size())
    restarts = _count_start(job) - 1 if worker.rank == 0 else 0
    trackers = Trackers(job, board.warn.remote)
    track = [TrackLosses(trackers, job.config)] if worker.rank == 0 else []
    report = ReportCheckpoints(job, worker, job.config.keep == "best")
    peers = RayPeers(board, worker)
    leave = [LeaveNodes(report, peers)] if nodes_may_leave else []
    callbacks = [*track, report, NoteProgress(board, worker.rank), *leave]

    def warn(message: str) -> None:
        ray.get(board.warn.remote(message))

    def checkpoint_at(step: int) -> Path:
        report.wait_for_upload()
        best = checkpoints.newest(job, worker, peers, warn, step)
        if best is None:
            raise RuntimeError(
                f"the checkpoint of step {step}, the best, is damaged or gone: "
                f"remove {job.folder} to train from the start"
            )
        return best.folder

    latest = checkpoints.newest(job, worker, peers, warn)
    try:
        info = run_train_loop(job, worker, callbacks, latest and latest.folder, restarts, checkpoint_at)
    finally:
        report.wait_for_upload()
    if info is None:
        return None
    return Outcome({**info, "tracking": trackers.status}, ray.get_runtime_context().get_node_id())


class RayPeers:
    """The connection between the workers of a training, over Ray Train and the progress board."""

    def __init__(self, board: Any, worker: TrainWorker):
        self._board, self._worker, self._exchanges = board, worker, 0

    def broadcast(self, value: T) -> T:
        """Return the value of rank 0."""
        import ray.train.collective

        shared: T = ray.train.collective.broadcast_from_rank_zero(value)
        return shared

    def gather(self, value: T) -> list[T]:
        """Return the values of all workers by rank, after all have called this."""
        import ray.train.collective

        self._exchanges += 1
        ray.get(self._board.share.remote(self._exchanges, self._worker.rank, value))
        ray.train.collective.barrier()
        values: list[T] = ray.get(self._board.shared.remote(self._exchanges, self._worker.world_size))
        return values


def _count_start(job: TrainingJob) -> int:
    """Count this start and return how often Ray Train or earlier calls have started this training, including now."""
    file = f"{job.folder}/starts.json"
    starts = (job.store.read_json(file) if job.store.exists(file) else 0) + 1
    job.store.write_json(file, starts)
    return starts
