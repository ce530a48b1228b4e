"""What each Ray Train worker runs.

Heavy imports are inside, after `cpu.before_imports`.
"""

import os
import shutil
import traceback
from pathlib import Path
from typing import Any

from detox_ray.config import InputError
from detox_ray.train import cpu
from detox_ray.train.place import Job, Place


def run(given: dict[str, Any]) -> Any:
    """Entry of every worker. Rank 0 returns what its marker will say; an error that would recur goes to the board."""
    import ray.train

    job, board = given["job"], given["board"]
    if ray.get(board.state.remote()).error is not None:
        return None
    try:
        return _train(job, board)
    except (RuntimeError, OSError, ray.exceptions.RayError):
        raise  # also what survivors see when another worker is lost: worth another try
    except Exception as error:
        explains_itself = isinstance(error, (InputError, FloatingPointError))
        detail = str(error) if explains_itself else "".join(traceback.format_exception(error))
        ray.get(board.fail.remote(isinstance(error, InputError), detail))
        raise
    finally:
        if ray.train.get_context().get_local_rank() == 0:
            shutil.rmtree(job.scratch, ignore_errors=True)


def _train(job: Job, board: Any) -> dict[str, Any] | None:
    if not job.gpu:
        cpu.before_imports()
    os.environ["TQDM_DISABLE"] = "1"
    import ray.train

    from detox_ray.train.callbacks import NoteProgress, ReportCheckpoints
    from detox_ray.train.fit import fit

    context = ray.train.get_context()
    place = Place(context.get_world_rank(), context.get_local_rank(), context.get_world_size())
    restarts = _count_start(job) - 1 if place.rank == 0 else 0
    callbacks = [ReportCheckpoints(), NoteProgress(board, place.rank)]
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return fit(job, place, callbacks, None, restarts)
    with checkpoint.as_directory() as folder:
        return fit(job, place, callbacks, Path(folder), restarts)


def _count_start(job: Job) -> int:
    """How many times this training has been started, by Ray Train or by another driver; this one included."""
    file = f"{job.folder}/starts.json"
    starts = (job.store.read_json(file) if job.store.exists(file) else 0) + 1
    job.store.write_json(file, starts)
    return starts
