"""Whole trainings on a local Ray: two workers under DeepSpeed."""

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from alone import train_alone
from safetensors.torch import load_file
from small_training import commit_pairs, train_config
from transformers import AutoModelForCausalLM, AutoTokenizer

from detox_ray import train
from detox_ray.cluster import Cluster
from detox_ray.cluster.progress import Progress
from detox_ray.config import TrainConfig
from detox_ray.models import LoadableModel
from detox_ray.storage import Store
from detox_ray.storage.tables import CHECKPOINTS
from detox_ray.train.training_job import TrainingJob

pytestmark = pytest.mark.integration

UNIT = CHECKPOINTS.unit(model="detox")
LONG = train_config(max_steps=40, checkpoint_every=5, max_failures=1, validation_fraction=0.1)


def run(store: Store, config: TrainConfig, parent: LoadableModel, cluster: Cluster) -> dict[str, Any]:
    """Train ``detox`` on the pairs and return what its marker says."""
    pairs = commit_pairs(store)
    key = train.key(config, parent.key, pairs[1], 0)
    train.train("detox", config, parent, pairs, 0, key, store, cluster, Progress())
    assert store.committed(CHECKPOINTS) == {UNIT: key}
    assert store.files("training") == []
    return store.info(UNIT, key)


class Killer(threading.Thread):
    """SIGKILLs one Ray Train worker of this process's Ray after each of ``times`` new checkpoints.

    The second time it waits until the workers have been replaced.
    """

    def __init__(self, store: Store, times: int):
        super().__init__(daemon=True)
        self.store, self.times, self.killed = store, times, 0
        self.processes = ""  # the names of all processes at the last kill

    def run(self) -> None:
        victims: set[int] = set()
        seen: set[str] = set()
        while self.killed < self.times:
            time.sleep(0.01)  # between two looks, not for something to have happened
            checkpoints = {file.split("/")[2] for file in self.store.files("training") if "/checkpoint_" in file}
            workers = {process.pid for process in _train_workers()} - victims
            if len(workers) == 2 and checkpoints - seen:
                self.processes = " ".join(_names().values())
                os.kill(min(workers), signal.SIGKILL)
                self.killed += 1
                victims |= workers
                seen = checkpoints


def _names() -> dict[psutil.Process, str]:
    """Return the name of each process that this one has started."""
    names = {}
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            names[process] = " ".join(process.cmdline())
    return names


def _train_workers() -> list[psutil.Process]:
    return [process for process, name in _names().items() if "RayTrainWorker" in name]


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, parent: LoadableModel, ray_cluster: Cluster
) -> tuple[Store, dict[str, Any]]:
    """A training that lost a worker on its way."""
    store = Store.at(str(tmp_path_factory.mktemp("trained")))
    killer = Killer(store, 1)
    killer.start()
    info = run(store, LONG, parent, ray_cluster)
    assert info["restarts"] == killer.killed == 1
    assert "TrainController" in killer.processes
    assert "PlacementGroupCleaner" not in killer.processes, "it waits at the end for a dashboard that is not there"
    return store, info


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, parent: LoadableModel) -> tuple[Store, dict[str, Any]]:
    """Return the same training without Ray, and without a loss."""
    store = Store.at(str(tmp_path_factory.mktemp("undisturbed")))
    (info,) = train_alone([TrainingJob("detox", "k" * 16, LONG, parent, commit_pairs(store), 0, store, False)], world=2)
    assert isinstance(info, dict), info
    return store, info


def test_full_tuning_runs_under_deepspeed_and_learns(trained: tuple[Store, dict[str, Any]]) -> None:
    _, info = trained
    ran = {name: info[name] for name in ("engine", "zero_stage", "world_size", "backend", "device", "optimizer")}
    assert ran == {
        "engine": "DeepSpeedEngine",
        "zero_stage": 2,
        "world_size": 2,
        "backend": "gloo",
        "device": "cpu",
        "optimizer": "RMSprop",
    }
    assert (info["rows_train"], info["rows_validation"], info["rows_left_out"]) == (64, 8, 0)
    assert info["trainable_parameters"] == info["total_parameters"] > 0
    log = info["log"]
    assert [row["step"] for row in log] == list(range(1, 41))
    assert log[0]["loss"] == pytest.approx(0.6931472, abs=1e-5)  # log 2: policy and reference agree before a step
    assert log[-1]["loss"] < 0.1
    assert info["evaluation"]["reward_accuracy"] > 0.9


def test_result_is_a_whole_model_folder_that_generates_as_its_parent_does(
    trained: tuple[Store, dict[str, Any]], parent: LoadableModel
) -> None:
    store, _ = trained
    folder = Path(store.path("checkpoints/detox"))
    assert {file.name for file in folder.iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    tuned, before = (AutoModelForCausalLM.from_pretrained(path) for path in (folder, parent.location))
    assert tuned.dtype == torch.float32
    assert tuned.config.pad_token_id is None and tuned.generation_config.pad_token_id is None
    assert tuned.lm_head.weight is tuned.model.embed_tokens.weight
    assert not torch.equal(tuned.model.layers[0].mlp.down_proj.weight, before.model.layers[0].mlp.down_proj.weight)
    tokenizers = [AutoTokenizer.from_pretrained(path) for path in (folder, parent.location)]
    assert tokenizers[0].get_vocab() == tokenizers[1].get_vocab()
    assert tokenizers[0].special_tokens_map == tokenizers[1].special_tokens_map


def same(one: tuple[Store, dict[str, Any]], other: tuple[Store, dict[str, Any]]) -> bool:
    """Return whether two trainings had the same losses and have the same weights."""
    weights = [load_file(Path(store.path("checkpoints/detox")) / "model.safetensors") for store, _ in (one, other)]
    assert weights[0].keys() == weights[1].keys()
    told = [(info["log"], info["evaluation"]) for _, info in (one, other)]
    return told[0] == told[1] and all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_killed_worker_leaves_the_losses_and_weights_of_an_undisturbed_training(
    trained: tuple[Store, dict[str, Any]], undisturbed: tuple[Store, dict[str, Any]]
) -> None:
    assert same(trained, undisturbed)


@pytest.mark.slow
def test_training_that_fails_too_often_is_carried_on_by_the_next_call(
    store: Store, undisturbed: tuple[Store, dict[str, Any]], parent: LoadableModel, ray_cluster: Cluster
) -> None:
    killer = Killer(store, times=2)  # one more than max_failures
    killer.start()
    with pytest.raises(train.TrainingError, match="detox"):
        run(store, LONG, parent, ray_cluster)
    assert killer.killed == 2
    assert store.committed(CHECKPOINTS) == {}
    assert store.files("training") != []
    info = run(store, LONG, parent, ray_cluster)
    assert info["restarts"] == 2
    assert same((store, info), undisturbed)


@pytest.mark.slow
def test_lora_under_zero3_on_an_object_store_is_merged_exactly(
    s3_store: Store, parent: LoadableModel, ray_cluster: Cluster
) -> None:
    from peft import PeftModel

    config = train_config(tuning="lora", lora={"r": 4}, deepspeed="zero3", optimizer="adamw", max_steps=6)
    info = run(s3_store, config, parent, ray_cluster)
    assert (info["zero_stage"], info["optimizer"]) == (3, "AdamW")
    assert 0 < info["trainable_parameters"] < info["total_parameters"]
    assert info["log"][0]["loss"] == pytest.approx(0.6931472, abs=1e-5)  # the adapter begins as nothing

    folder = s3_store.localize("checkpoints/detox")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    given = tokenizer("Anna and Ben say that", return_tensors="pt")
    base = AutoModelForCausalLM.from_pretrained(parent.location)
    with torch.no_grad():
        plain = base(**given).logits
        merged = AutoModelForCausalLM.from_pretrained(folder)(**given).logits
        adapted = PeftModel.from_pretrained(base, folder / "adapter")(**given).logits
    torch.testing.assert_close(merged, adapted, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(merged, plain, atol=1e-4)


@pytest.mark.slow
def test_mistake_that_would_recur_ends_the_training_at_once_with_its_field(
    store: Store, parent: LoadableModel, ray_cluster: Cluster
) -> None:
    with pytest.raises(ValueError, match=r"^models\.detox\.train\.trainable: 'layres' finds no parameter"):
        run(store, train_config(trainable=["layres"], max_failures=5, workers=1), parent, ray_cluster)
    assert store.committed(CHECKPOINTS) == {}
    assert store.read_json(next(f for f in store.files("training") if f.endswith("starts.json"))) == 1


def test_more_workers_than_this_machine_has_cpus_are_refused(
    store: Store, parent: LoadableModel, ray_cluster: Cluster
) -> None:
    with pytest.raises(ValueError, match=r"^models\.detox\.train\.workers: 3 workers need 3 CPU"):
        run(store, train_config(workers=3), parent, ray_cluster)
