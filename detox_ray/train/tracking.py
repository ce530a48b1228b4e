"""Tracking of a training's curves by TensorBoard (event files in the run's folder), Weights & Biases, or MLflow.

Rank 0 writes. A resumed training continues the same tracked run: Weights & Biases by the run's id, MLflow by an id that
is stored beside the event files, TensorBoard by a new file that hides repeated steps. Addresses and keys come only from
the environment (WANDB_API_KEY, WANDB_PROJECT, MLFLOW_TRACKING_URI, …), on a cluster from that of its nodes.

Tracking never ends a training. A tracker that fails is not used again, which a warning and the marker report.
"""

import importlib.util
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from detox_ray.storage import key_of
from detox_ray.train.training_job import TrainingJob

FOLDER = "training-logs"  # in the run's folder, with a folder per model
PROJECT = "detox-ray"  # Weights & Biases' project and MLflow's experiment, unless the environment names one

_PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb", "mlflow": "mlflow"}


def check(trackers: Sequence[str]) -> list[tuple[str, str]]:
    """Return (tracker, rule) for each tracker that this machine cannot use. No tracker is imported."""
    problems = []
    joined = bool(os.environ.get("RAY_ADDRESS"))  # a cluster's nodes have their own environment
    for name in trackers:
        if importlib.util.find_spec(_PACKAGES[name]) is None:
            problems.append((name, f"needs the package {_PACKAGES[name]}, which is not installed"))
        elif name == "wandb" and not joined and not _wandb_can_start():
            problems.append((name, "needs WANDB_API_KEY in the environment (or WANDB_MODE=offline)"))
        elif name == "mlflow" and not joined and not os.environ.get("MLFLOW_TRACKING_URI"):
            problems.append((name, "needs MLFLOW_TRACKING_URI in the environment"))
    return problems


def _wandb_can_start() -> bool:
    return bool(os.environ.get("WANDB_API_KEY")) or os.environ.get("WANDB_MODE", "") in ("offline", "disabled")


class Tracker(Protocol):
    """A destination of a training's curves."""

    def log(self, step: int, values: Mapping[str, float]) -> None: ...
    def keep(self) -> None:
        """Save everything logged so far, so that it survives a kill. Called before a checkpoint is saved."""

    def finish(self) -> None: ...


class TensorBoard:
    """Event files, one for each start of the training. With an object store, they are copied at each checkpoint."""

    def __init__(self, job: TrainingJob, step: int):
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._store, self._target = job.store, f"{FOLDER}/{job.name}"
        for file in self._store.files(self._target):
            if "tfevents" in file and not file.endswith(job.key):  # from other settings
                self._store.delete(file)
        folder = Path(self._store.path(self._target)) if self._store.is_local else job.scratch / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        before = set(folder.iterdir())
        # SummaryWriter is not used: it writes from a thread, and one cannot wait for its queue.
        self._writer = EventsWriter(str(folder / "events"), f".{os.getpid()}.{job.key}")
        (self._file,) = set(folder.iterdir()) - before
        started = SessionLog(status=SessionLog.START)  # makes TensorBoard hide later steps in older files
        self._writer.write_event(Event(step=step + 1, wall_time=time.time(), session_log=started))
        self._writer.flush()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        for name, value in values.items():
            self._writer.write_event(Event(step=step, wall_time=time.time(), summary=scalar(name, value)))
        self._writer.flush()

    def keep(self) -> None:
        if not self._store.is_local:
            self._store.write_bytes(f"{self._target}/{self._file.name}", self._file.read_bytes())

    def finish(self) -> None:
        self._writer.close()
        self.keep()


class WeightsAndBiases:
    """A run of Weights & Biases. Offline runs (WANDB_MODE=offline) are in the run's folder, for `wandb sync`."""

    def __init__(self, job: TrainingJob, step: int):
        import wandb

        if os.environ.get("WANDB_MODE") == "offline" and not job.store.is_local:
            raise OSError("WANDB_MODE=offline needs storage on a disk")
        folder = Path(job.store.path(f"{FOLDER}/{job.name}")) if job.store.is_local else job.scratch
        folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=key_of(store=job.store.uri, name=job.name, key=job.key),
            name=job.name,
            resume="allow",
            config=job.config.model_dump(mode="json"),
            dir=str(folder),
        )
        # The step of Weights & Biases must not go back, but ours does if a resumed training repeats steps.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({"step": step, **values})

    def keep(self) -> None:
        return

    def finish(self) -> None:
        self._run.finish()


class MLflow:
    """A run of MLflow."""

    def __init__(self, job: TrainingJob, step: int):
        import mlflow

        self._entities, self._client = mlflow.entities, mlflow.MlflowClient()
        note = f"{FOLDER}/{job.name}/mlflow.json"
        known = job.store.read_json(note) if job.store.exists(note) else {}
        if known.get("key") == job.key:
            self._run_id: str = known["run_id"]
            self._client.update_run(self._run_id, status="RUNNING")
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = self._client.get_experiment_by_name(name)
        number = self._client.create_experiment(name) if experiment is None else experiment.experiment_id
        self._run_id = self._client.create_run(number, run_name=job.name, tags={"detox_ray.key": job.key}).info.run_id
        settings = job.config.model_dump(mode="json")
        params = [mlflow.entities.Param(field, str(value)) for field, value in settings.items()]
        self._client.log_batch(self._run_id, params=params)
        job.store.write_json(note, {"key": job.key, "run_id": self._run_id})

    def log(self, step: int, values: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        metrics = [self._entities.Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    def keep(self) -> None:
        return

    def finish(self) -> None:
        self._client.set_terminated(self._run_id)


_OPEN: dict[str, Callable[[TrainingJob, int], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}


class Trackers:
    """All trackers of one training.

    Attributes:
        status: For each tracker, "ok", or how and when it failed.
    """

    def __init__(self, job: TrainingJob, warn: Callable[[str], None]):
        self._job, self._warn = job, warn
        self._open: dict[str, Tracker] = {}
        self.status: dict[str, str] = {}

    def begin(self, step: int) -> None:
        """Open the trackers. ``step`` is the step of the checkpoint from which the training resumes, or 0."""
        for name in self._job.config.tracking:
            self.status[name] = "ok"
            self._guarded(name, step, lambda name: self._open.update({name: _OPEN[name](self._job, step)}))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._each(step, lambda name: self._open[name].log(step, values))

    def keep(self, step: int) -> None:
        self._each(step, lambda name: self._open[name].keep())

    def finish(self, step: int) -> None:
        self._each(step, lambda name: self._open[name].finish())
        self._open.clear()

    def _each(self, step: int, act: Callable[[str], None]) -> None:
        for name in list(self._open):
            self._guarded(name, step, act)

    def _guarded(self, name: str, step: int, act: Callable[[str], None]) -> None:
        try:
            act(name)
        except Exception as error:
            self._open.pop(name, None)
            self.status[name] = f"failed at step {step}: {type(error).__name__}: {error}"
            self._warn(f"tracking by {name} {self.status[name]}; the training goes on without it")
