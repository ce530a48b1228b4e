"""The driver's thread trains, and lets the model be exported where the trained weights are."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import ray
from small_training import commit_pairs, train_config

from detox_ray import train
from detox_ray.cluster import Cluster
from detox_ray.cluster.progress import Progress
from detox_ray.models import LoadableModel
from detox_ray.storage import Store
from detox_ray.storage.tables import CHECKPOINTS, PAIRS
from detox_ray.train import job, training_thread
from detox_ray.train.training_job import Outcome, TrainingJob
from detox_ray.train.training_thread import TrainingThread


class Trainings:
    """Ray Train, and the exports on nodes of which some are lost."""

    def __init__(self, outcomes: list[Outcome | None], lost: set[str]):
        self.outcomes, self.lost = outcomes, lost
        self.exported_on: list[str] = []

    def trainer(self, *_: object) -> Any:
        return SimpleNamespace(fit=lambda: SimpleNamespace(return_value=self.outcomes.pop(0)))

    def export(self, _job: object, _board: object, node: str) -> bool:
        self.exported_on.append(node)
        return node not in self.lost


def ended(trainings: Trainings, later: bool, patch: pytest.MonkeyPatch) -> TrainingThread:
    patch.setattr(training_thread, "_trainer", trainings.trainer)
    patch.setattr(training_thread, "_export", trainings.export)
    parent, rows = cast(LoadableModel, None), (PAIRS.unit(), "0" * 16)
    described = TrainingJob("detox", "k", train_config(), parent, rows, 0, Store("/nowhere"), later, 0, later)
    thread = TrainingThread(described, None, True)
    thread.start()
    thread.join()
    return thread


def test_training_whose_weights_are_lost_with_their_node_is_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    trainings = Trainings([Outcome({"restarts": 0}, "first"), Outcome({"restarts": 1}, "second")], lost={"first"})
    thread = ended(trainings, True, monkeypatch)
    assert thread.error is None
    assert thread.info == {"restarts": 1}
    assert trainings.exported_on == ["first", "second"]


def test_training_without_gpus_or_without_a_result_needs_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    trainings = Trainings([Outcome({"restarts": 0}, "first"), None], lost=set())
    assert ended(trainings, False, monkeypatch).info == {"restarts": 0}
    assert ended(trainings, True, monkeypatch).info is None  # the workers have put an error on the board
    assert trainings.exported_on == []


class Heard(Progress):
    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def say(self, message: str) -> None:
        self.messages.append(message)


@pytest.mark.integration
@pytest.mark.slow
def test_model_is_exported_while_the_workers_resources_are_free(
    s3_store: Store, parent: LoadableModel, ray_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both CPUs stand for the workers' GPUs. The task asks for both, and gets them only if the workers have ended."""
    monkeypatch.setattr(job, "exports_later", lambda gpu: True)
    remote = ray.remote

    def asking_for_all(*function: Any, **options: Any) -> Any:
        if "max_calls" not in options:  # only the task that exports has it
            return remote(*function, **options)
        decorate = remote(**options)
        return lambda function: SimpleNamespace(
            options=lambda **given: decorate(function).options(**{**given, "num_cpus": 2})
        )

    monkeypatch.setattr(ray, "remote", asking_for_all)
    pairs, progress = commit_pairs(s3_store), Heard()
    config = train_config(deepspeed="zero3", max_steps=6)
    key = train.key(config, parent.key, pairs[1], 0)
    train.train("detox", config, parent, pairs, 0, key, s3_store, ray_cluster, progress)
    assert s3_store.committed(CHECKPOINTS) == {CHECKPOINTS.unit(model="detox"): key}
    assert (s3_store.localize("checkpoints/detox") / "model.safetensors").exists()
    assert any("GPUs are given back" in message for message in progress.messages)
    left = TrainingJob("detox", key, config, parent, pairs, 0, s3_store, False)
    assert not any(Path(folder).exists() for folder in (left.scratch, left.fetched, left.result))
