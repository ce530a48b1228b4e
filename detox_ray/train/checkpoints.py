"""Checkpoints of a training: it resumes from the latest one whose files are complete and unchanged.

A checkpoint without the seals of all nodes (`checkpoint_files`) was not finished. One whose files differ from their
seals is damaged. Each node checks the files that its workers load; a checkpoint is whole only if no node finds a
difference, so all workers resume from the same one. Ray Train itself returns the latest checkpoint that it knows,
regardless of its state.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import pyarrow.fs as pafs

from detox_ray.cluster.ray_internals import CHECKPOINT_LIST, CHECKPOINT_PREFIX, parse_checkpoint_list
from detox_ray.storage import Store
from detox_ray.train import checkpoint_files, deepspeed_config
from detox_ray.train.training_job import TrainingJob, TrainWorker

T = TypeVar("T")


class Checkpoint(NamedTuple):
    """A finished checkpoint in the storage."""

    folder: str
    step: int


class LocalCheckpoint(NamedTuple):
    """A whole checkpoint, with the files that this node's workers load in a local folder."""

    checkpoint: Checkpoint
    folder: Path  # the checkpoint itself if the storage is a folder, otherwise a copy that the node's workers share


class Peers(Protocol):
    """The connection between the workers of a training. All of them call the same methods in the same order."""

    def broadcast(self, value: T) -> T:
        """Return the value of rank 0."""

    def gather(self, value: T) -> list[T]:
        """Return the values of all workers by rank, after all have called this."""


def newest(
    job: TrainingJob, worker: TrainWorker, peers: Peers, warn: Callable[[str], None], step: int | None = None
) -> LocalCheckpoint | None:
    """Return the latest whole checkpoint of a training; None if there is none.

    Every worker must call this, and all get the same checkpoint. Each node reads only the files that its workers load.

    Args:
        job: The training.
        worker: The calling worker.
        peers: Its connection to the others.
        warn: Called on rank 0 for each later checkpoint that is not whole.
        step: The step of the checkpoint, if only one will do.
    """
    nodes = peers.gather(job.node)
    ranks = [rank for rank, node in enumerate(nodes) if node == job.node]
    candidates = _finished(job.store, job.folder, warn, step) if worker.rank == 0 else iter(())
    while (candidate := peers.broadcast(next(candidates, None))) is not None:
        difference = _fetch(job, candidate, ranks, len(nodes)) if worker.local_rank == 0 else None
        differences = [found for found in peers.gather(difference) if found is not None]
        if not differences:
            local = Path(job.store.path(candidate.folder)) if job.store.is_local else job.fetched
            return LocalCheckpoint(candidate, local)
        if worker.rank == 0:
            name = candidate.folder.rpartition("/")[2]
            warn(f"{name} (step {candidate.step}) is damaged, {differences[0]}: going back to the one before")
    return None


def _finished(store: Store, folder: str, warn: Callable[[str], None], step: int | None) -> Iterator[Checkpoint]:
    """Yield the checkpoints below ``folder`` (of ``step``, if given) that have all their seals, the latest first."""
    checkpoints: dict[str, list[str]] = {}
    for file in store.files(folder):
        name, slash, _ = file.removeprefix(f"{folder}/").partition("/")
        if slash and name.startswith(CHECKPOINT_PREFIX):  # Ray Train's list of checkpoints has this prefix, too
            checkpoints.setdefault(name, []).append(file)
    for name in sorted(checkpoints, reverse=True):
        seals = checkpoint_files.seals(store, checkpoints[name])
        if step is not None and (not seals or seals[0].step != step):
            continue
        if not seals or sum(seal.ranks for seal in seals) != seals[0].world:
            warn(f"{name} was not finished: going back to the one before")
        else:
            yield Checkpoint(f"{folder}/{name}", seals[0].step)


def _fetch(job: TrainingJob, checkpoint: Checkpoint, ranks: list[int], world: int) -> str | None:
    """Check the files that the workers of this node load, and copy them unless the storage is a folder.

    Args:
        job: The training.
        checkpoint: The checkpoint.
        ranks: The ranks of this node's workers.
        world: The number of all workers.

    Returns:
        The first file that differs from its seal, and how; None if none differs.
    """
    target = None if job.store.is_local else job.fetched
    if target is not None:
        shutil.rmtree(target, ignore_errors=True)  # left by lost workers, or by an earlier checkpoint
        target.mkdir(mode=0o700)  # no other user may write there, because the files are trusted
    seals = checkpoint_files.seals(job.store, job.store.files(checkpoint.folder))
    if not seals:
        return "its seals cannot be read"
    files = {file: sums for seal in seals for file, sums in seal.files.items()}
    elastic = deepspeed_config.read(job.config.deepspeed)["zero_optimization"].get("elastic_checkpoint", False)
    if seals[0].world == world and not elastic:  # otherwise, a worker may load the files of any rank
        files = dict(checkpoint_files.of_ranks(files, ranks))
    return checkpoint_files.fetch(job.store, checkpoint.folder, files, target)


def remove_unusable_list(store: Store, folder: str) -> str | None:
    """Delete Ray Train's list of checkpoints if Ray Train would refuse to start with it.

    Nothing is lost, because `newest` reads the checkpoints themselves.

    Returns:
        A message about the list that was deleted; None if it was usable.
    """
    file = f"{folder}/{CHECKPOINT_LIST}"
    if not store.exists(file):
        return None
    try:
        listed = parse_checkpoint_list(store.read_bytes(file))
        gone = next((name for name in listed.folders if not store.exists(f"{folder}/{name}")), None)
        problem = f"lists {gone}, which is not there" if gone else _other_ray(listed.ray_version)
    except (ValueError, KeyError, TypeError) as error:
        problem = f"cannot be read ({type(error).__name__}: {error})"
    if problem is None:
        return None
    store.delete(file)
    return f"Ray Train's list of checkpoints {problem}: it is deleted, and the checkpoints themselves are read"


def _other_ray(version: str) -> str | None:
    import ray

    return None if version == ray.__version__ else f"is of Ray {version}, this is {ray.__version__}"


def leftovers(store: Store, name: str, key: str) -> list[str]:
    """Return the folders that trainings of the model ``name`` left under other keys."""
    selector = pafs.FileSelector(store.path("training"), allow_not_found=True)
    folders = (info.base_name for info in store.fs.get_file_info(selector) if info.type == pafs.FileType.Directory)
    return sorted(f"training/{folder}" for folder in folders if _key_in(folder, name) not in (None, key))


def _key_in(folder: str, name: str) -> str | None:
    """Return the key in ``<name>-<key>``; None if the folder belongs to another model."""
    key = folder.removeprefix(f"{name}-")
    return key if key != folder and len(key) == 16 and set(key) <= set("0123456789abcdef") else None
