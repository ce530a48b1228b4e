"""The driver's side of a training: check resources, start its thread, show progress, commit the result."""

import time
from typing import Any

from detox_ray.cluster import Cluster
from detox_ray.cluster.progress import Progress
from detox_ray.cluster.ray_internals import draining_nodes, lost_nodes
from detox_ray.cluster.waiting import Waiting, is_pending, lacks
from detox_ray.config import ConfigError, InputError, Problem, TrainConfig
from detox_ray.models import LoadableModel
from detox_ray.storage import Store, Unit
from detox_ray.storage.tables import CHECKPOINTS
from detox_ray.train import checkpoints, progress_board, settings
from detox_ray.train.training_job import TrainingJob
from detox_ray.train.training_thread import TrainingThread, exports_later

POLL_SECONDS = 0.5
QUIET_S = 20.0  # if the board has not changed for this long, workers may be waiting for resources
CLOCK_SECONDS = 30.0  # time between two writes of the time spent


class TrainingError(RuntimeError):
    """A training failed. The message ends with the cause. Checkpoints remain, and the next call resumes from them."""


def train(
    name: str,
    config: TrainConfig,
    parent: LoadableModel,
    rows: tuple[Unit, str],
    seed: int,
    key: str,
    store: Store,
    cluster: Cluster,
    progress: Progress,
) -> None:
    """Train the model ``name`` and commit it under ``key`` as CHECKPOINTS.unit(model=name).

    Ray must be connected. If a call is killed, the next call with the same key resumes from its last checkpoint.

    Args:
        name: The model's name in the experiment.
        config: The model's train block.
        parent: The model from which it descends.
        rows: The committed unit (PAIRS, or a TEXTS table) from which it learns, and the unit's key.
        seed: The experiment's seed; a seed in the train block has precedence.
        key: The result's key (`train.key`).
        store: The store with the rows, to which the result is committed.
        cluster: The connected Ray.
        progress: Shows the steps.

    Raises:
        InputError: If a setting is wrong. The message names its field.
        TrainingError: If the training failed.
    """
    field = f"models.{name}.train"
    gpu = _uses_gpu(config, cluster)
    if not gpu and (problems := settings.needing_gpu(field, config)):
        raise ConfigError(problems)
    _check_room(field, config, cluster, gpu)
    seed = settings.seed_of(config, seed)
    job = TrainingJob(name, key, config, parent, rows, seed, store, gpu, exports_later=exports_later(gpu))
    for folder in checkpoints.leftovers(store, name, key):
        store.fs.delete_dir(store.path(folder))
    if problem := checkpoints.remove_unusable_list(store, job.folder):
        progress.say(f"train {name}: {problem}")
    clock, board = _Clock(store, job.folder), progress_board.start()
    room = _Room(f"train {name}", progress, cluster.wait_s, *_needs(config, gpu))
    thread = TrainingThread(job, board, cluster.address == "local")
    info, warnings = _follow(thread, board, clock, room, field, progress)
    store.commit(CHECKPOINTS.unit(model=name), key, None, {**info, "warnings": warnings, "seconds": clock.spent()})
    store.fs.delete_dir(store.path(job.folder))


class _Clock:
    """The seconds spent on this training, including those of earlier calls that were killed."""

    def __init__(self, store: Store, folder: str):
        self._store, self._file = store, f"{folder}/seconds.json"
        self._before: float = store.read_json(self._file) if store.exists(self._file) else 0.0
        self._started = self._saved = time.monotonic()

    def spent(self) -> float:
        return round(self._before + time.monotonic() - self._started, 1)

    def save(self, at_once: bool = False) -> None:
        """Save the seconds from time to time, because a killed call cannot save them at its end."""
        if at_once or time.monotonic() - self._saved >= CLOCK_SECONDS:
            self._store.write_json(self._file, self.spent())
            self._saved = time.monotonic()


def _uses_gpu(config: TrainConfig, cluster: Cluster) -> bool:
    if config.resources_per_worker is None:
        return cluster.gpus > 0
    return config.resources_per_worker.get("GPU", 0) > 0


def _check_room(field: str, config: TrainConfig, cluster: Cluster, gpu: bool) -> None:
    """Raise an error if our own Ray is too small, because Ray Train would wait forever. A joined cluster may grow."""
    if cluster.address != "local":
        return
    workers, per_worker = _needs(config, gpu)
    for resource, available in (("CPU", cluster.cpus), ("GPU", cluster.gpus)):
        needed = workers * per_worker.get(resource, 0)
        if needed > available:
            has = f"this machine's Ray has {available:g}"
            raise InputError(f"{field}.workers: {workers} workers need {needed:g} {resource}, {has}")
    if config.placement == "STRICT_SPREAD" and workers > cluster.nodes:
        rule = f"puts every worker on a node of its own: {workers} workers, but this Ray has {cluster.nodes}"
        raise ConfigError([Problem(f"{field}.placement", config.placement, rule)])


def _needs(config: TrainConfig, gpu: bool) -> tuple[int, dict[str, float]]:
    """Return the number of workers that a training needs to begin, and the resources of each."""
    return config.min_workers or config.workers, config.resources_per_worker or ({"GPU": 1} if gpu else {"CPU": 1})


class _Room:
    """The resources that a training needs on the cluster. Ray Train waits for them silently and forever."""

    def __init__(self, label: str, progress: Progress, wait_s: float, workers: int, each: dict[str, float]):
        self.waiting, self.workers, self.each = Waiting(label, progress, wait_s), workers, each
        self._label, self._progress = label, progress
        self._lost, self._leaving = lost_nodes(), set(draining_nodes())
        self._board: progress_board.BoardState | None = None
        self._changed = time.monotonic()

    def look(self, board: progress_board.BoardState) -> None:
        """Report nodes that leave or are lost, and report it if the cluster lacks the resources or others use them.

        Raises:
            WaitedTooLong: If the training has waited for too long.
        """
        lost, leaving = lost_nodes(), draining_nodes()
        for node in leaving.keys() - self._leaving:
            goes_on = "workers that are there save a checkpoint, and all start again without that node"
            self._progress.say(f"{self._label}: the node {leaving[node]} is about to leave the cluster; {goes_on}")
        self._leaving |= leaving.keys()
        for node in lost.keys() - self._lost.keys() - self._leaving:
            goes_on = "workers that were there start again, from the last checkpoint"
            self._progress.say(f"{self._label}: the node {lost[node]} is lost; {goes_on}")
        self._lost = lost
        if board != self._board:
            self._board, self._changed = board, time.monotonic()
        is_quiet = time.monotonic() - self._changed > QUIET_S
        if lacks(self.workers, self.each) or (is_quiet and is_pending(self.workers, self.each)):
            wanted = " and ".join(f"{self.workers * amount:g} {name}s" for name, amount in self.each.items() if amount)
            self.waiting.go_on(f"{wanted} for {self.workers} workers")
        else:
            self.waiting.end()


def _follow(
    training: TrainingThread, board: Any, clock: _Clock, room: _Room, field: str, progress: Progress
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Show the board's state until the training ends. Return the result of rank 0 and the warnings."""
    training.start()
    label = training.name
    state = progress_board.BoardState()
    while training.is_alive() and not state.total and not state.reference[1]:
        training.join(POLL_SECONDS)
        room.look(state)
        state = _read_board(board, state, label, clock, progress)
    if state.reference[1]:
        with progress.task(f"{label}: reference", state.reference[1], "groups", state.reference[0]) as task:
            while True:
                if state.reference[0] > task.done:
                    task.advance(state.reference[0] - task.done)
                if state.total or not training.is_alive():
                    break
                training.join(POLL_SECONDS)
                state = _read_board(board, state, label, clock, progress)
    if state.total:
        is_announced = False
        with progress.task(label, state.total, "steps", state.step) as task:
            while True:
                alive = training.is_alive()
                state = _read_board(board, state, label, clock, progress)
                if (
                    state.step > task.done
                ):  # smaller after a restart, when the bar waits until the step is reached again
                    task.advance(state.step - task.done, state.note)
                if not alive:
                    break
                training.join(POLL_SECONDS)
                if not training.exports:  # its workers have ended, and their nodes may leave the cluster
                    room.look(state)
                elif not is_announced:
                    progress.say(f"{label}: the workers' GPUs are given back; the model is checked and uploaded")
                is_announced = training.exports
    clock.save(at_once=True)
    if state.error is not None:
        users_mistake, message = state.error
        if users_mistake:
            raise InputError(message if message.startswith("models.") else f"{field}: {message}") from None
        raise TrainingError(f"{label}: {message}") from None
    if training.error is not None:
        raise TrainingError(f"{label}: {_cause(training.error)}") from training.error
    assert training.info is not None, "Ray Train ended without rank 0's result"
    return training.info, state.warnings


def _read_board(
    board: Any, before: progress_board.BoardState, label: str, clock: _Clock, progress: Progress
) -> progress_board.BoardState:
    """Return the current state of the board, and show the warnings that are new since ``before``."""
    import ray

    state: progress_board.BoardState = ray.get(board.state.remote())
    for warning in state.warnings[len(before.warnings) :]:
        progress.say(f"{label}: {warning}")
    clock.save()
    return state


def _cause(error: Exception) -> str:
    """Return the error of the first failed worker, which Ray Train has wrapped."""
    failures = getattr(error, "worker_failures", None) or {}
    first = next((failures[rank] for rank in sorted(failures)), error)
    first = getattr(first, "cause", None) or first  # of the task that exports
    return str(first).strip() or type(first).__name__
