"""Settings of a training: checks of the train block, and the key of the fields on which the result depends."""

import math
import os
from typing import Any

from detox_ray.config import LoraConfig, Problem, TrainConfig
from detox_ray.models.device import machine_has_gpu
from detox_ray.storage import key_of
from detox_ray.train import deepspeed_config, tracking

VERSION = 3  # raise it if the same settings give another result

# Fields that change the weights at most by rounding: where the training runs, and how memory is divided.
NO_INFLUENCE = {
    "parent",  # its key is part of this one
    "recipe",  # its choices are in the other fields
    "seed",  # the effective seed is in the key
    "deepspeed",  # the key has the settings of a user's own JSON that may matter
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
    "bfloat16": "bfloat16 needs GPU workers, because DeepSpeed does not train it on a CPU: use float32",
    "autocast": "needs GPU workers, because on a CPU it gains nothing: leave it out",
    "qlora": "qlora needs GPU workers, because 4-bit weights are for GPUs only: use lora",
}


def check(field: str, config: TrainConfig) -> list[Problem]:
    """Return the problems of ``models.<name>.train`` (``field``) that can be found without Ray and the model."""
    problems = deepspeed_config.problems(field, config)
    problems += [Problem(f"{field}.tracking", name, rule) for name, rule in tracking.check(config.tracking)]
    asked = (config.resources_per_worker or {}).get("GPU")
    # A cluster at RAY_ADDRESS may have GPUs even if this machine has none. train() checks the cluster.
    if asked == 0 or (not os.environ.get("RAY_ADDRESS") and not machine_has_gpu()):
        problems += needing_gpu(field, config)
    for resource, amount in (config.resources_per_worker or {}).items():
        if amount < 0:
            problems.append(Problem(f"{field}.resources_per_worker.{resource}", amount, "must not be negative"))
    if config.min_workers is not None and config.min_workers < config.workers:
        problems += _elastic_problems(field, config)
    return problems


def needing_gpu(field: str, config: TrainConfig) -> list[Problem]:
    """Return the problems with settings that workers without a GPU cannot follow."""
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
    """Return the problems that prevent fewer workers from giving the same training."""
    assert config.min_workers is not None
    problems: list[Problem] = []
    rows = config.workers * config.gradient_accumulation
    sizes = range(config.min_workers, config.workers + 1)
    if any(rows % size for size in sizes):
        step = math.lcm(*sizes) // math.gcd(math.lcm(*sizes), config.workers)
        rule = (
            f"every number of workers from {config.min_workers} to {config.workers} must divide workers times "
            f"gradient_accumulation, so that a step sees the same rows: make gradient_accumulation a multiple of {step}"
        )
        problems.append(Problem(f"{field}.min_workers", config.min_workers, rule))
    if config.placement.startswith("STRICT"):
        rule = "Ray Train counts free resources without regard to STRICT placement; use PACK or SPREAD with it"
        problems.append(Problem(f"{field}.min_workers", config.min_workers, rule))
    try:
        stage = deepspeed_config.read(config.deepspeed)["zero_optimization"]["stage"]
    except ValueError:
        return problems
    if stage > 0:
        rule = (
            f"DeepSpeed cannot load a checkpoint of ZeRO stage {stage} on another number of workers: "
            "use deepspeed: zero0, or leave min_workers out"
        )
        problems.append(Problem(f"{field}.min_workers", config.min_workers, rule))
    return problems


def accumulation(config: TrainConfig, world: int) -> int:
    """Return the forward passes per step and worker with which ``world`` workers process the same rows in a step."""
    passes, rest = divmod(config.workers * config.gradient_accumulation, world)
    assert rest == 0, f"{world} workers do not divide {config.workers} x {config.gradient_accumulation} (check refuses)"
    return passes


def influence(config: TrainConfig, seed: int) -> dict[str, Any]:
    """Return the part of a train block that changes the trained weights, as JSON values.

    ``seed`` is the experiment's seed; a seed in the train block has precedence.

    Raises:
        ValueError: If the DeepSpeed JSON is wrong.
    """
    chosen = config.model_dump(mode="json", exclude=NO_INFLUENCE)
    if not config.sft_weight:  # without the term, the loss and the key are the same as before the field existed
        del chosen["sft_weight"]
    if config.tuning != "full":
        chosen["lora"] = lora_of(config).model_dump(mode="json")
    return {
        **chosen,
        "deepspeed": deepspeed_config.influence(deepspeed_config.read(config.deepspeed)),
        "seed": seed_of(config, seed),
    }


def key(config: TrainConfig, parent_key: str, rows_key: str, seed: int) -> str:
    """Return a hash of everything that changes the trained weights.

    Raises:
        ValueError: If the DeepSpeed JSON is wrong.
    """
    chosen = influence(config, seed)
    return key_of(stage="train", version=VERSION, settings=chosen, parent=parent_key, rows=rows_key)


def lora_of(config: TrainConfig) -> LoraConfig:
    """Return the train block's LoRA settings, or the defaults."""
    return config.lora or LoraConfig()


def seed_of(config: TrainConfig, seed: int) -> int:
    """Return the model's own seed if it has one, otherwise the experiment's."""
    return seed if config.seed is None else config.seed
