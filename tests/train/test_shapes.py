"""Dividing memory and work in another way does not change what is learned: one training in every shape, without Ray."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alone import alone, train_alone
from small_training import commit_pairs, train_config

from detox_ray.config import TrainConfig
from detox_ray.models import LoadableModel
from detox_ray.storage import Store
from detox_ray.train.training_job import TrainingJob, TrainWorker

pytestmark = pytest.mark.integration

# RMSprop divides by the root of a running mean that begins at nothing, so rounding grows at first: this is float error.
TOLERANCE = 2e-4
STEPS = 4  # evaluated after 2, where the first best checkpoint is made


def config(**changes: object) -> TrainConfig:
    return train_config(max_steps=STEPS, gradient_accumulation=2, batch_size=2, evaluate_every=2, **changes)


LORA = {"tuning": "lora", "lora": {"r": 4, "dropout": 0.0}}
SHAPES = {
    "zero0": config(deepspeed="zero0"),
    "zero1": config(deepspeed="zero1"),
    "zero2": config(deepspeed="zero2"),
    "zero3": config(deepspeed="zero3"),
    "zero1, optimizer in the CPU's memory": config(deepspeed="zero1", offload="optimizer"),
    "zero3, parameters in the CPU's memory": config(deepspeed="zero3", offload="parameters"),
    "lora zero0": config(deepspeed="zero0", **LORA),
    "lora zero3, gradient checkpointing": config(deepspeed="zero3", gradient_checkpointing=True, **LORA),
}


def jobs(folder: Path, parent: LoadableModel, configs: dict[str, TrainConfig]) -> list[TrainingJob]:
    made = []
    for number, block in enumerate(configs.values()):
        store = Store.at(str(folder / str(number)))
        made.append(TrainingJob(f"m{number}", "0" * 16, block, parent, commit_pairs(store), 0, store, gpu=False))
    return made


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory, parent: LoadableModel) -> Iterator[dict[str, TrainingJob]]:
    made = dict(zip(SHAPES, jobs(tmp_path_factory.mktemp("shapes"), parent, SHAPES), strict=True))
    yield made
    for job in made.values():
        shutil.rmtree(job.scratch, ignore_errors=True)


@pytest.fixture(scope="module")
def trained(shapes: dict[str, TrainingJob]) -> dict[str, dict[str, Any]]:
    """Return what each shape's marker would say. All run in one pair of processes."""
    return dict(zip(shapes, train_alone(list(shapes.values()), world=2), strict=True))  # type: ignore[arg-type]


def losses(info: dict[str, Any]) -> list[float]:
    assert isinstance(info, dict), info
    return [row["loss"] for row in info["log"]]


@pytest.mark.parametrize("shape", [name for name in SHAPES if name not in ("zero0", "lora zero0")])
def test_every_shape_learns_the_same(trained: dict[str, dict[str, Any]], shape: str) -> None:
    plain = trained["lora zero0" if shape.startswith("lora") else "zero0"]
    assert len(losses(plain)) == STEPS
    assert losses(plain)[-1] < losses(plain)[0] - 0.01
    assert losses(trained[shape]) == pytest.approx(losses(plain), abs=TOLERANCE)


def test_the_shape_that_was_asked_for_is_the_one_that_ran(trained: dict[str, dict[str, Any]]) -> None:
    stages = {name: info["zero_stage"] for name, info in trained.items()}
    assert stages == {name: int(block.deepspeed[-1]) for name, block in SHAPES.items()}
    assert {name: info["offload"] for name, info in trained.items() if info["offload"]} == {
        "zero1, optimizer in the CPU's memory": "optimizer",
        "zero3, parameters in the CPU's memory": "parameters",
    }


def resumed(job: TrainingJob, worker: TrainWorker) -> dict[str, Any] | None:
    """Runs in a process of `alone`."""
    from detox_ray.train.train_loop import run_train_loop

    try:
        return run_train_loop(job, worker, [], Path(job.store.read_json("checkpoint")), 1)
    finally:
        shutil.rmtree(job.scratch, ignore_errors=True)


@pytest.mark.slow
def test_run_goes_on_with_fewer_workers_on_the_same_rows_in_each_step(
    tmp_path: Path, shapes: dict[str, TrainingJob], trained: dict[str, dict[str, Any]], parent: LoadableModel
) -> None:
    """Two workers until step 2, then one; each batching's steps hold the same rows."""
    alike = {"deepspeed": "zero0", "min_workers": 1, "keep": "last"}
    elastic = jobs(tmp_path, parent, {name: config(**alike, batching=name) for name in ("padded", "length-grouped")})
    for job in elastic:
        job.store.write_json("checkpoint", str(shapes["zero0"].scratch / "checkpoint-2"))
    for info in alone(resumed, elastic, world=1):
        assert isinstance(info, dict), info
        assert (info["world_size"], info["restarts"]) == (1, 1)
        assert losses(info)[:2] == losses(trained["zero0"])[:2]
        assert losses(info) == pytest.approx(losses(trained["zero0"]), abs=TOLERANCE)
