"""TensorBoard's files, and Weights & Biases and MLflow by what they are documented to take."""

import struct
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from small_training import train_config

from detox_ray.models import LoadableModel
from detox_ray.storage import Store
from detox_ray.storage.tables import PAIRS
from detox_ray.train import tracking
from detox_ray.train.tracking import Trackers
from detox_ray.train.training_job import TrainingJob


def job(store: Store, *names: str, key: str = "0123456789abcdef") -> TrainingJob:
    parent = LoadableModel("base", "unused", False, None, "auto", "k")
    return TrainingJob("detox", key, train_config(tracking=list(names)), parent, (PAIRS.unit(), "k"), 0, store, False)


def events(store: Store) -> list[Any]:
    """All events in all files, in the order of the files' names."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for file in store.files("training-logs/detox"):
        content, at = store.read_bytes(file), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            found.append(Event.FromString(content[at + 12 : at + 12 + length]))
            at += 12 + length + 4
    return found


def scalars(store: Store) -> list[tuple[int, str, float]]:
    return [
        (e.step, v.tag, round(v.simple_value, 6))
        for e in events(store)
        if e.HasField("summary")
        for v in e.summary.value
    ]


def test_tensorboard_files_stand_in_the_runs_folder_as_soon_as_they_are_logged(store: Store) -> None:
    warnings: list[str] = []
    trackers = Trackers(job(store, "tensorboard"), warnings.append)
    trackers.begin(0)
    trackers.log(1, {"train/loss": 0.7, "train/grad_norm": 2.0})
    assert scalars(store) == [(1, "train/loss", 0.7), (1, "train/grad_norm", 2.0)]  # nothing waits in a queue
    trackers.log(2, {"validation/loss": 0.6})
    trackers.finish(2)
    assert scalars(store)[-1] == (2, "validation/loss", 0.6)
    assert (trackers.status, warnings) == ({"tensorboard": "ok"}, [])


def test_resumed_training_adds_a_file_that_hides_the_steps_taken_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboardX.proto.event_pb2 import SessionLog

    killed = Trackers(job(store, "tensorboard"), print)
    killed.begin(0)
    for step in (1, 2, 3):
        killed.log(step, {"train/loss": 0.5 * step})
    monkeypatch.setattr("os.getpid", lambda: 1)  # another process
    resumed = Trackers(job(store, "tensorboard"), print)
    resumed.begin(1)
    resumed.log(2, {"train/loss": 1.0})
    assert len(store.files("training-logs/detox")) == 2
    assert sorted(e.step for e in events(store) if e.session_log.status == SessionLog.START) == [1, 2]
    assert sorted(scalars(store)) == [(1, "train/loss", 0.5), *[(2, "train/loss", 1.0)] * 2, (3, "train/loss", 1.5)]


def test_files_of_other_settings_are_removed(store: Store) -> None:
    for key in ("0123456789abcdef", "fedcba9876543210"):
        trackers = Trackers(job(store, "tensorboard", key=key), print)
        trackers.begin(0)
        trackers.log(1, {"train/loss": 1.0})
        trackers.finish(1)
    (file,) = store.files("training-logs/detox")
    assert file.endswith("fedcba9876543210")


def test_on_an_object_store_what_was_logged_before_a_checkpoint_is_there(
    s3_store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    trackers = Trackers(job(s3_store, "tensorboard"), print)
    trackers.begin(0)
    trackers.log(1, {"train/loss": 0.7})
    trackers.keep(1)
    assert scalars(s3_store) == [(1, "train/loss", 0.7)]


class FakeRun:
    def __init__(self) -> None:
        self.logged: list[dict[str, float]] = []
        self.metrics: list[tuple[str, str | None]] = []
        self.finished = False

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        self.metrics.append((name, step_metric))

    def log(self, values: dict[str, float]) -> None:
        self.logged.append(values)

    def finish(self) -> None:
        self.finished = True


def test_weights_and_biases_go_on_in_the_same_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[dict[str, Any]] = []
    run = FakeRun()

    def init(**given: Any) -> FakeRun:
        begun.append(given)
        return run

    fake = types.ModuleType("wandb")
    fake.init = init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", fake)
    for step in (0, 3):
        trackers = Trackers(job(store, "wandb"), print)
        trackers.begin(step)
    trackers.log(4, {"train/loss": 0.5})
    trackers.finish(4)
    assert begun[0]["id"] == begun[1]["id"] and begun[0]["resume"] == "allow"
    assert begun[0]["config"]["learning_rate"] == 1e-3
    assert ("*", "step") in run.metrics
    assert run.logged == [{"step": 4, "train/loss": 0.5}] and run.finished
    assert not any("key" in name.lower() and name != "key" for name in begun[0])


class FakeMlflow(types.ModuleType):
    """MLflow's client in memory, as it is documented (https://mlflow.org/docs/latest/api_reference)."""

    class Entities(NamedTuple):
        Metric: Any = NamedTuple("Metric", [("key", str), ("value", float), ("timestamp", int), ("step", int)])
        Param: Any = NamedTuple("Param", [("key", str), ("value", str)])

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.entities = self.Entities()
        self.runs: dict[str, list[Any]] = {}
        self.experiments: list[str] = []
        self.ended: list[str] = []
        self.resumed: list[tuple[str, str]] = []

    def MlflowClient(self) -> "FakeMlflow":
        return self

    def get_experiment_by_name(self, name: str) -> Any:
        return types.SimpleNamespace(experiment_id=name) if name in self.experiments else None

    def create_experiment(self, name: str) -> str:
        self.experiments.append(name)
        return name

    def create_run(self, experiment_id: str, *, run_name: str, tags: dict[str, str]) -> Any:
        self.runs[f"run{len(self.runs)}"] = []
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=f"run{len(self.runs) - 1}"))

    def update_run(self, run_id: str, *, status: str) -> None:
        self.resumed.append((run_id, status))

    def log_batch(self, run_id: str, *, metrics: Sequence[Any] = (), params: Sequence[Any] = ()) -> None:
        self.runs[run_id] += [*metrics, *params]

    def set_terminated(self, run_id: str) -> None:
        self.ended.append(run_id)


def test_mlflow_goes_on_in_the_same_run_and_other_settings_get_another(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeMlflow()
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    warnings: list[str] = []
    for step, key in ((0, "0123456789abcdef"), (3, "0123456789abcdef"), (0, "fedcba9876543210")):
        trackers = Trackers(job(store, "mlflow", key=key), warnings.append)
        trackers.begin(step)
        trackers.log(step + 1, {"train/loss": 0.5})
    trackers.finish(1)
    assert warnings == []
    first, second = fake.runs.values()
    metrics = [entry for entry in first if hasattr(entry, "step")]
    assert [(metric.key, metric.value, metric.step) for metric in metrics] == [
        ("train/loss", 0.5, 1),
        ("train/loss", 0.5, 4),
    ]
    assert ("learning_rate", "0.001") in [tuple(entry) for entry in first if not hasattr(entry, "step")]
    assert len(second) > 1
    assert fake.resumed == [("run0", "RUNNING")] and fake.ended == ["run1"] and fake.experiments == ["detox-ray"]


def test_a_tracker_that_fails_is_left_alone_and_the_training_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(FakeRun):
        def log(self, values: dict[str, float]) -> None:
            raise ConnectionError("the service is gone")

    fake = types.ModuleType("wandb")
    fake.init = lambda **given: Broken()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", fake)
    warnings: list[str] = []
    trackers = Trackers(job(store, "wandb", "tensorboard"), warnings.append)
    trackers.begin(0)
    trackers.log(1, {"train/loss": 0.7})
    trackers.log(2, {"train/loss": 0.6})
    trackers.finish(2)
    assert len(warnings) == 1 and "wandb" in warnings[0]
    assert trackers.status["wandb"] == "failed at step 1: ConnectionError: the service is gone"
    assert trackers.status["tensorboard"] == "ok"
    assert [step for step, _, _ in scalars(store)] == [1, 2]


def test_what_a_tracker_needs_is_missed_when_the_config_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_ADDRESS", "WANDB_API_KEY", "WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    here = {"wandb"}
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: name if name in here else None)
    assert tracking.check(["tensorboard"]) == [
        ("tensorboard", "needs the package tensorboardX, which is not installed")
    ]
    ((name, rule),) = tracking.check(["wandb"])
    assert name == "wandb" and "WANDB_API_KEY" in rule
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert tracking.check(["wandb"]) == []
    assert tracking.check(["mlflow"]) == [("mlflow", "needs the package mlflow, which is not installed")]
    here.add("mlflow")
    assert "MLFLOW_TRACKING_URI" in tracking.check(["mlflow"])[0][1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert tracking.check(["mlflow"]) == []


def test_a_clusters_nodes_may_have_the_keys_that_this_machine_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("RAY_ADDRESS", "ray://elsewhere:10001")
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: name)
    assert tracking.check(["wandb"]) == []
