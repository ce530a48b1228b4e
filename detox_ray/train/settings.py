"""What is fixed before any process starts: is the train block sound, and what does its result depend on."""

import math
import os
from pathlib import Path
from typing import Any

from detox_ray.config import LoraConfig, Problem, TrainConfig
from detox_ray.storage import key_of
from detox_ray.train import tracking, zero

VERSION = 3  # of this stage's code: raise it when the same settings give another result

# Where and how long, and how memory is shared out: no more than rounding depends on it.
NO_INFLUENCE = {
    "parent",  # its own key is in ours
    "recipe",  # its choices stand in the other fields
    "seed",  # the effective one is in the key
    "deepspeed",  # of an own JSON, what may matter is in the key
    "offload",
    "nvme_path",
    "gradient_checkpointing",
    "min_workers",  # the global batch is the same on any number of workers (accumulation)
    "resources_per_worker",
    "placement",
    "max_failures",
    "checkpoint_every",
    "tracking",
}

GPU_RULES = {
    "bfloat16": "bfloat16 needs GPU workers: DeepSpeed does not train it on CPU; use float32",
    "autocast": "needs GPU workers: on a CPU it gains nothing; leave it out",
    "qlora": "qlora needs GPU workers: 4-bit weights are computed with on GPU only; use lora",
}


def check(field: str, config: TrainConfig) -> list[Problem]:
    """Problems of ``models.<name>.train`` (``field``) that can be seen without Ray and without the model."""
    problems = zero.problems(field, config)
    problems += [Problem(f"{field}.tracking", name, rule) for name, rule in tracking.check(config.tracking)]
    asked = (config.resources_per_worker or {}).get("GPU")
    # A cluster joined at RAY_ADDRESS may have GPUs that this machine has not: train() asks it.
    if asked == 0 or (not os.environ.get("RAY_ADDRESS") and not _has_gpu()):
        problems += needing_gpu(field, config)
    for resource, amount in (config.resources_per_worker or {}).items():
        if amount < 0:
            problems.append(Problem(f"{field}.resources_per_worker.{resource}", amount, "must not be negative"))
    if config.min_workers is not None and config.min_workers < config.workers:
        problems += _elastic_problems(field, config)
    return problems


def needing_gpu(field: str, config: TrainConfig) -> list[Problem]:
    """What the train block asks for that workers without a GPU cannot do."""
    wants = {
        "bfloat16": ("dtype", config.dtype == "bfloat16"),
        "autocast": ("autocast", config.autocast is not None),
        "qlora": ("tuning", config.tuning == "qlora"),
    }
    return [
        Problem(f"{field}.{name}", getattr(config, name), GPU_RULES[what])
        for what, (name, wanted) in wants.items()
        if wanted
    ]


def _elastic_problems(field: str, config: TrainConfig) -> list[Problem]:
    """Why this block cannot go on with fewer workers and still be the same training."""
    assert config.min_workers is not None
    found, rows = [], config.workers * config.gradient_accumulation
    sizes = range(config.min_workers, config.workers + 1)
    if any(rows % size for size in sizes):
        step = math.lcm(*sizes) // math.gcd(math.lcm(*sizes), config.workers)
        rule = (
            f"every number of workers from {config.min_workers} to {config.workers} must divide workers times "
            f"gradient_accumulation, so that a step sees the same rows: make gradient_accumulation a multiple of {step}"
        )
        found.append(Problem(f"{field}.min_workers", config.min_workers, rule))
    if config.placement.startswith("STRICT"):
        rule = "Ray Train counts free resources without regard to STRICT placement; use PACK or SPREAD with it"
        found.append(Problem(f"{field}.min_workers", config.min_workers, rule))
    try:
        stage = zero.read(config.deepspeed)["zero_optimization"]["stage"]
    except ValueError:
        return found
    if stage > 0:
        rule = (
            f"DeepSpeed cannot load a checkpoint of ZeRO stage {stage} on another number of workers: "
            "use deepspeed: zero0, or leave min_workers out"
        )
        found.append(Problem(f"{field}.min_workers", config.min_workers, rule))
    return found


def accumulation(config: TrainConfig, world: int) -> int:
    """Forward passes per step and worker that keep the step's rows the same on ``world`` workers."""
    passes, rest = divmod(config.workers * config.gradient_accumulation, world)
    assert rest == 0, f"{world} workers do not divide {config.workers} x {config.gradient_accumulation} (check refuses)"
    return passes


def _has_gpu() -> bool:
    """Whether this machine shows an NVIDIA device (asked of the kernel: importing torch costs seconds)."""
    return os.environ.get("CUDA_VISIBLE_DEVICES") != "" and any(Path("/dev").glob("nvidia[0-9]*"))


def influence(config: TrainConfig, seed: int) -> dict[str, Any]:
    """What of a train block changes the trained weights, as JSON values; ``seed`` is the experiment's.

    Raises ValueError if the DeepSpeed JSON is wrong.
    """
    chosen = config.model_dump(mode="json", exclude=NO_INFLUENCE)
    if config.tuning != "full":
        chosen["lora"] = lora_of(config).model_dump(mode="json")
    return {**chosen, "deepspeed": zero.influence(zero.read(config.deepspeed)), "seed": seed_of(config, seed)}


def key(config: TrainConfig, parent_key: str, rows_key: str, seed: int) -> str:
    """Hash of everything that changes the trained weights. Raises ValueError if the DeepSpeed JSON is wrong."""
    made_from = influence(config, seed)
    return key_of(stage="train", version=VERSION, settings=made_from, parent=parent_key, rows=rows_key)


def lora_of(config: TrainConfig) -> LoraConfig:
    return config.lora or LoraConfig()


def seed_of(config: TrainConfig, seed: int) -> int:
    """The model's own seed where it has one, else the experiment's."""
    return seed if config.seed is None else config.seed
