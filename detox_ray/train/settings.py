"""What is fixed before any process starts: is the train block sound, and what does its result depend on."""

import os
from pathlib import Path

from detox_ray.config import LoraConfig, Problem, TrainConfig
from detox_ray.store import key_of
from detox_ray.train import zero

VERSION = 1  # of this stage's code: raise it when the same settings give another result

# Where and how long, not what.
_NO_INFLUENCE = {
    "parent",
    "recipe",  # its choices stand in the other fields
    "seed",
    "deepspeed",
    "min_workers",
    "resources_per_worker",
    "placement",
    "max_failures",
    "checkpoint_every",
    "tracking",
}


def check(field: str, config: TrainConfig) -> list[Problem]:
    """Problems of ``models.<name>.train`` (``field``) that can be seen without Ray and without the model."""
    problems = []
    try:
        zero.read(config.deepspeed)
    except ValueError as error:
        problems.append(Problem(f"{field}.deepspeed", config.deepspeed, str(error)))
    asked = (config.resources_per_worker or {}).get("GPU")
    # A cluster joined at RAY_ADDRESS may have GPUs that this machine has not: train() asks it.
    if config.dtype == "bfloat16" and (asked == 0 or (not os.environ.get("RAY_ADDRESS") and not _has_gpu())):
        problems.append(Problem(f"{field}.dtype", config.dtype, BFLOAT16_RULE))
    for resource, amount in (config.resources_per_worker or {}).items():
        if amount < 0:
            problems.append(Problem(f"{field}.resources_per_worker.{resource}", amount, "must not be negative"))
    if config.lora is not None and "lm_head" in config.lora.target_modules:
        rule = "must not hold lm_head: TRL computes the loss from its weight directly, so the adapter would not train"
        problems.append(Problem(f"{field}.lora.target_modules", config.lora.target_modules, rule))
    return problems


BFLOAT16_RULE = "bfloat16 needs GPU workers: DeepSpeed does not train it on CPU; use float32"


def _has_gpu() -> bool:
    """Whether this machine shows an NVIDIA device (asked of the kernel: importing torch costs seconds)."""
    return os.environ.get("CUDA_VISIBLE_DEVICES") != "" and any(Path("/dev").glob("nvidia[0-9]*"))


def key(config: TrainConfig, parent_key: str, rows_key: str, seed: int) -> str:
    """Hash of everything that changes the trained weights. Raises ValueError where the DeepSpeed JSON is wrong."""
    chosen = config.model_dump(mode="json", exclude=_NO_INFLUENCE)
    if config.tuning == "lora":
        chosen["lora"] = lora_of(config).model_dump(mode="json")
    return key_of(
        stage="train",
        version=VERSION,
        settings=chosen,
        deepspeed=zero.complete(zero.read(config.deepspeed)),
        parent=parent_key,
        rows=rows_key,
        seed=seed_of(config, seed),
    )


def lora_of(config: TrainConfig) -> LoraConfig:
    return config.lora or LoraConfig()


def seed_of(config: TrainConfig, seed: int) -> int:
    """The model's own seed where it has one, else the experiment's."""
    return seed if config.seed is None else config.seed
