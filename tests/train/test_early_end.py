"""Early stopping, the best checkpoint, lost losses and the divergence, in real trainings without Ray."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest
import torch
from alone import train_alone
from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint
from safetensors.torch import load_file
from small_training import pairs_table, train_config
from torch.distributions import Categorical, kl_divergence
from transformers import AutoModelForCausalLM, AutoTokenizer

from detox_ray import train
from detox_ray.cluster import Cluster
from detox_ray.cluster.progress import Progress
from detox_ray.models import LoadableModel
from detox_ray.storage import Store, StoreError
from detox_ray.storage.tables import CHECKPOINTS, PAIRS
from detox_ray.train import data_split
from detox_ray.train.kl_divergence import sequences
from detox_ray.train.training_job import TrainingJob

pytestmark = pytest.mark.integration

ROWS = (PAIRS.unit(), "0" * 16)


def undecided_pairs(count: int) -> pa.Table:
    """Every other pair prefers the insult: what helps one hurts another, so the validation loss soon rises."""
    rows = pairs_table(count).to_pylist()
    for row in rows[::2]:
        row["chosen"], row["rejected"] = row["rejected"], row["chosen"]
    return pa.Table.from_pylist(rows, schema=PAIRS.columns)


OVERFITS = {"max_steps": 60, "evaluate_every": 2, "early_stopping": 3, "checkpoint_every": 5, "optimizer": "adamw",
            "learning_rate": 3e-3, "validation_fraction": 0.2, "keep": "best"}  # fmt: skip
JOBS: dict[str, dict[str, object]] = {
    "zero2": OVERFITS | {"reference": "live", "batching": "padded"},
    "zero3-lora": OVERFITS | {"deepspeed": "zero3", "tuning": "lora", "lora": {"r": 4}, "learning_rate": 3e-2},
    "last": {"max_steps": 6, "reference": "live", "evaluate_every": 4, "early_stopping": None, "keep": "last",
             "validation_fraction": 0.2},
    "lost": {"max_steps": 500, "learning_rate": 1e18, "optimizer": "adamw", "max_grad_norm": 1e30},
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, parent: LoadableModel
) -> Iterator[dict[str, tuple[TrainingJob, dict[str, Any] | str]]]:
    """All jobs, one after another, on two workers."""
    folder = tmp_path_factory.mktemp("early")
    jobs = []
    for name, changes in JOBS.items():
        store = Store.at(str(folder / name))
        store.commit(*ROWS, undecided_pairs(72))
        jobs.append(TrainingJob(name, "k" * 16, train_config(**changes), parent, ROWS, 0, store, False))
    infos = train_alone(jobs, world=2)
    yield {job.name: (job, info) for job, info in zip(jobs, infos, strict=True)}
    for job in jobs:
        shutil.rmtree(job.scratch, ignore_errors=True)


def done(trained: dict[str, tuple[TrainingJob, dict[str, Any] | str]], name: str) -> tuple[TrainingJob, dict[str, Any]]:
    job, info = trained[name]
    assert isinstance(info, dict), info
    return job, info


def weights_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Return the weights of a checkpoint, which DeepSpeed's own function puts together from the ranks' parts."""
    weights = get_fp32_state_dict_from_zero_checkpoint(str(checkpoint))
    return {name.replace(".default.", "."): tensor for name, tensor in weights.items()}


@pytest.mark.parametrize("name", ["zero2", "zero3-lora"])
def test_training_stops_early_and_the_best_steps_weights_are_what_is_saved(
    trained: dict[str, tuple[TrainingJob, dict[str, Any] | str]], name: str
) -> None:
    job, info = done(trained, name)
    losses = {row["step"]: row["loss"] for row in info["validation"]}
    best = min(losses, key=lambda step: losses[step])
    assert list(losses) == list(range(2, info["steps"] + 1, 2))
    assert info["stopped"] == "early" and info["steps"] < info["planned_steps"] == 60
    assert info["best_step"] == info["kept_step"] == best < info["steps"]
    assert info["steps"] == best + 3 * 2  # three evaluations without a lower loss
    assert info["evaluation"]["loss"] == losses[best]

    saved = Path(job.store.path(f"checkpoints/{name}"))
    file = "adapter/adapter_model.safetensors" if "lora" in name else "model.safetensors"
    kept = load_file(saved / file)
    of_best = weights_of(job.scratch / f"checkpoint-{best}")
    assert kept.keys() <= of_best.keys()
    assert all(torch.equal(kept[part], of_best[part]) for part in kept)
    later = [path for path in job.scratch.glob("checkpoint-*") if int(path.name[11:]) > best]
    assert not (job.scratch / f"checkpoint-{info['steps']}").exists()
    assert later, "a checkpoint after the best one would have been mistaken for it"
    newer = weights_of(later[0])
    assert any(not torch.equal(kept[part], newer[part]) for part in kept)


def test_divergence_from_the_parent_is_that_of_the_saved_weights(
    trained: dict[str, tuple[TrainingJob, dict[str, Any] | str]], parent: LoadableModel
) -> None:
    job, info = done(trained, "last")
    assert info["kl_to_parent"] == {"status": "ok"}
    assert [row["step"] for row in info["validation"]] == [4, 6] and info["kept_step"] == 6
    assert naive_divergence(job, parent) == pytest.approx(info["evaluation"]["kl_to_parent"], rel=1e-4)
    assert info["validation"][0]["kl_to_parent"] > 0


def test_divergence_is_measured_with_the_adapter_off_and_not_without_a_reference(
    trained: dict[str, tuple[TrainingJob, dict[str, Any] | str]], parent: LoadableModel
) -> None:
    job, info = done(trained, "zero3-lora")
    assert naive_divergence(job, parent) == pytest.approx(info["evaluation"]["kl_to_parent"], rel=1e-3)


def naive_divergence(job: TrainingJob, parent: LoadableModel) -> float:
    """Mean over positions of torch's own KL, of the saved model against its parent, both loaded from their folders."""
    split = data_split.split(
        job.store.read(*ROWS), AutoTokenizer.from_pretrained(parent.location), job.config, 2, "models.detox.train"
    )
    tuned, before = (
        AutoModelForCausalLM.from_pretrained(path, dtype=torch.float64)
        for path in (job.store.path(f"checkpoints/{job.name}"), parent.location)
    )
    found = []
    for ids, start in sequences(split.validation):
        with torch.no_grad():
            p, q = (model(torch.tensor([ids])).logits[0, start - 1 : -1] for model in (tuned, before))
        found.append(kl_divergence(Categorical(logits=p), Categorical(logits=q)))
    return torch.cat(found).mean().item()


def test_log_ratios_and_curves_are_in_the_marker(trained: dict[str, tuple[TrainingJob, dict[str, Any] | str]]) -> None:
    _, info = done(trained, "last")
    first, last = info["log"][0], info["validation"][-1]
    assert first["loss"] == pytest.approx(0.6931472, abs=1e-5)
    assert first["chosen_log_ratio"] == pytest.approx(0, abs=1e-4)
    assert {"step", "loss", "reward_margin", "reward_accuracy", "grad_norm", "learning_rate"} <= first.keys()
    assert last["reward_margin"] == pytest.approx(
        0.1 * (last["chosen_log_ratio"] - last["rejected_log_ratio"]), rel=1e-3, abs=1e-6
    )


class KillOnceAfter(threading.Thread):
    """SIGKILLs one Ray Train worker of this process's Ray as soon as a checkpoint of a step after ``step`` stands."""

    def __init__(self, store: Store, step: int):
        super().__init__(daemon=True)
        self.store, self.step, self.killed = store, step, False

    def run(self) -> None:
        while not self.killed:
            time.sleep(0.02)  # between two looks, not for something to have happened
            seals = [file for file in self.store.files("training") if "/sealed-by-" in file]
            if any(self._step(seal) > self.step for seal in seals):
                victims = [process.pid for process in psutil.Process().children(recursive=True) if _trains(process)]
                os.kill(min(victims), signal.SIGKILL)
                self.killed = True

    def _step(self, seal: str) -> int:
        try:
            return int(self.store.read_json(seal)["step"])
        except (StoreError, FileNotFoundError):  # being written, or deleted
            return 0


def _trains(process: psutil.Process) -> bool:
    try:
        return "RayTrainWorker" in " ".join(process.cmdline())
    except psutil.Error:
        return False


@pytest.mark.slow
def test_best_checkpoint_survives_newer_ones_and_a_killed_worker(
    tmp_path: Path,
    trained: dict[str, tuple[TrainingJob, dict[str, Any] | str]],
    parent: LoadableModel,
    ray_cluster: Cluster,
) -> None:
    undisturbed, expected = done(trained, "zero2")
    store = Store.at(str(tmp_path))
    store.commit(*ROWS, undecided_pairs(72))
    killer = KillOnceAfter(store, expected["best_step"])
    killer.start()
    train.train("zero2", undisturbed.config, parent, ROWS, 0, "k" * 16, store, ray_cluster, Progress())
    assert killer.killed
    info = store.info(CHECKPOINTS.unit(model="zero2"), "k" * 16)
    assert info["restarts"] == 1
    told = ("log", "validation", "evaluation", "stopped", "best_step", "kept_step", "steps")
    assert {name: info[name] for name in told} == {name: expected[name] for name in told}
    weights, whole = (
        load_file(Path(each.path("checkpoints/zero2")) / "model.safetensors") for each in (store, undisturbed.store)
    )
    assert all(torch.equal(weights[part], whole[part]) for part in whole)
    # Its curves stand in the run's folder, those before the kill and those after.
    assert len([file for file in store.files("training-logs/zero2") if "tfevents" in file]) == 2
    assert info["tracking"] == {"tensorboard": "ok"}


def test_lost_loss_stops_at_its_step_and_names_the_rows(
    trained: dict[str, tuple[TrainingJob, dict[str, Any] | str]],
) -> None:
    job, message = trained["lost"]
    assert isinstance(message, str), "the training must have stopped"
    assert message.startswith("FloatingPointError: the ")
    assert "became nan at step 2 (rows: p" in message or "became inf at step 2 (rows: p" in message
    assert job.config.max_steps == 500  # logged is every second step only
