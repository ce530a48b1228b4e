"""The driver's side of a training: check that it fits, start Ray Train, show progress, commit the result."""

import os
import threading
import time
from typing import Any

from detox_ray.cluster import Cluster
from detox_ray.cluster.progress import Progress
from detox_ray.config import ConfigError, InputError, Problem, TrainConfig
from detox_ray.models import LoadableModel
from detox_ray.storage import Store, Unit
from detox_ray.storage.tables import CHECKPOINTS
from detox_ray.train import board as boards
from detox_ray.train import checkpoints, cpu, settings
from detox_ray.train.place import BEST_STEP, Job
from detox_ray.train.worker import run

POLL_SECONDS = 0.5
START_TIMEOUT_SECONDS = 300  # Ray Train's 60 are little where several workers import torch on few cores
# The newest always, and of the others the best so far, then the next newest: the newest may be half written when
# everything is killed. Three at most.
KEEP_CHECKPOINTS = 2
CLOCK_SECONDS = 30.0  # between two notes of the time spent


class TrainingError(RuntimeError):
    """Training failed; the message ends with the cause. What was checkpointed stays, and the next call goes on."""


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
    """Make the model ``name`` and commit it under ``key`` as Unit("checkpoints", (name,)).

    ``rows`` is the committed unit (PAIRS, or a TEXTS table) that it learns from, and its key; Ray must be connected.
    A call that was killed goes on from its last checkpoint when it is made again with the same key. Raises InputError
    where the setting is at fault (it names the field), TrainingError where the training is.
    """
    field = f"models.{name}.train"
    gpu = _uses_gpu(config, cluster)
    if not gpu and (problems := settings.needing_gpu(field, config)):
        raise ConfigError(problems)
    _check_room(field, config, cluster, gpu)
    job = Job(name, key, config, parent, rows, settings.seed_of(config, seed), store, gpu)
    for folder in checkpoints.leftovers(store, name, key):
        store.fs.delete_dir(store.path(folder))
    if trouble := checkpoints.mend(store, job.folder):
        progress.say(f"train {name}: {trouble}")
    clock, board = _Clock(store, job.folder), boards.start()
    info, warnings = _follow(_Fit(job, board, cluster.address == "local"), board, clock, field, progress)
    store.commit(CHECKPOINTS.unit(model=name), key, None, {**info, "warnings": warnings, "seconds": clock.spent()})
    store.fs.delete_dir(store.path(job.folder))


class _Clock:
    """Seconds spent on this training, by calls that were ended before it was as well."""

    def __init__(self, store: Store, folder: str):
        self._store, self._file = store, f"{folder}/seconds.json"
        self._before: float = store.read_json(self._file) if store.exists(self._file) else 0.0
        self._started = self._noted = time.monotonic()

    def spent(self) -> float:
        return round(self._before + time.monotonic() - self._started, 1)

    def note(self, at_once: bool = False) -> None:
        """Write it down, now and then: a killed call has no end at which it could."""
        if at_once or time.monotonic() - self._noted >= CLOCK_SECONDS:
            self._store.write_json(self._file, self.spent())
            self._noted = time.monotonic()


def _uses_gpu(config: TrainConfig, cluster: Cluster) -> bool:
    if config.resources_per_worker is None:
        return cluster.gpus > 0
    return config.resources_per_worker.get("GPU", 0) > 0


def _check_room(field: str, config: TrainConfig, cluster: Cluster, gpu: bool) -> None:
    """On a Ray of our own nothing will be added: Ray Train would wait for ever. (Another cluster may grow.)"""
    if cluster.address != "local":
        return
    each = config.resources_per_worker or ({"GPU": 1} if gpu else {"CPU": 1})
    workers = config.min_workers or config.workers
    for resource, there in (("CPU", cluster.cpus), ("GPU", cluster.gpus)):
        needed = workers * each.get(resource, 0)
        if needed > there:
            has = f"this machine's Ray has {there:g}"
            raise InputError(f"{field}.workers: {workers} workers need {needed:g} {resource}, {has}")
    if config.placement == "STRICT_SPREAD" and workers > cluster.nodes:
        rule = f"puts every worker on a node of its own: {workers} workers, but this Ray has {cluster.nodes}"
        raise ConfigError([Problem(f"{field}.placement", config.placement, rule)])


class _Fit(threading.Thread):
    """`TorchTrainer.fit` beside the main thread: there it would take over Ctrl-C and end the process with code 0."""

    def __init__(self, job: Job, board: Any, local: bool):
        super().__init__(name=f"train {job.name}", daemon=True)
        self._job, self._board, self._local = job, board, local
        self.info: dict[str, Any] | None = None
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.info = _trainer(self._job, self._board, self._local).fit().return_value
        except Exception as error:
            self.error = error


def _trainer(job: Job, board: Any, local: bool) -> Any:
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", str(START_TIMEOUT_SECONDS))
    if local:  # nobody takes a node of our own away: one process less to start
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    return TorchTrainer(
        run,
        train_loop_config={"job": job, "board": board},
        torch_config=TorchConfig(backend=None if job.gpu else cpu.BACKEND),
        scaling_config=ScalingConfig(
            num_workers=_workers(job.config),
            use_gpu=job.gpu,
            resources_per_worker=job.config.resources_per_worker,
            placement_strategy=job.config.placement,
        ),
        run_config=RunConfig(  # the same name and path again: Ray Train goes on from the last checkpoint there
            name=f"{job.name}-{job.key}",
            storage_path=job.store.path("training"),
            storage_filesystem=job.store.fs,
            failure_config=FailureConfig(max_failures=job.config.max_failures),
            checkpoint_config=CheckpointConfig(
                num_to_keep=KEEP_CHECKPOINTS, checkpoint_score_attribute=BEST_STEP, checkpoint_score_order="max"
            ),
        ),
    )


def _workers(config: TrainConfig) -> Any:
    """For Ray Train: a number, or the least and the most (which its type there leaves out)."""
    elastic = config.min_workers is not None and config.min_workers < config.workers
    return (config.min_workers or 0, config.workers) if elastic else config.workers


def _follow(
    fit: _Fit, board: Any, clock: _Clock, field: str, progress: Progress
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Show the board's state until the training ends; its info and the warnings."""
    fit.start()
    label = fit.name
    state = boards.State()
    while fit.is_alive() and not state.total and not state.reference[1]:
        fit.join(POLL_SECONDS)
        state = _look(board, state, label, clock, progress)
    if state.reference[1]:
        with progress.task(f"{label}: reference", total=state.reference[1], unit="groups") as task:
            while True:
                if state.reference[0] > task.done:
                    task.advance(state.reference[0] - task.done)
                if state.total or not fit.is_alive():
                    break
                fit.join(POLL_SECONDS)
                state = _look(board, state, label, clock, progress)
    if state.total:
        with progress.task(label, total=state.total, unit="steps") as task:
            while True:
                alive = fit.is_alive()
                state = _look(board, state, label, clock, progress)
                if state.step > task.done:  # less after a restart: the bar waits until it is caught up
                    task.advance(state.step - task.done, state.note)
                if not alive:
                    break
                fit.join(POLL_SECONDS)
    clock.note(at_once=True)
    if state.error is not None:
        users_mistake, message = state.error
        if users_mistake:
            raise InputError(message if message.startswith("models.") else f"{field}: {message}") from None
        raise TrainingError(f"{label}: {message}") from None
    if fit.error is not None:
        raise TrainingError(f"{label}: {_cause(fit.error)}") from fit.error
    assert fit.info is not None, "Ray Train ended without rank 0's result"
    return fit.info, state.warnings


def _look(board: Any, before: boards.State, label: str, clock: _Clock, progress: Progress) -> boards.State:
    """The board's state now; says the warnings that are new since ``before``."""
    import ray

    state: boards.State = ray.get(board.state.remote())
    for warning in state.warnings[len(before.warnings) :]:
        progress.say(f"{label}: {warning}")
    clock.note()
    return state


def _cause(error: Exception) -> str:
    """The first failed worker's own error, which Ray Train wraps."""
    failures = getattr(error, "worker_failures", None) or {}
    first = next((failures[rank] for rank in sorted(failures)), error)
    return str(first).strip() or type(first).__name__
