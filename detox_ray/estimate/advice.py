"""Which changes of a train block would make it fit: tried, not guessed, in the order of how little they change."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

from detox_ray.config import ConfigError, TrainConfig
from detox_ray.estimate.memory import Memory

MOST = 4  # pieces of advice
TOGETHER = 4  # changes in one of them, at most


class Advice(NamedTuple):
    """Overrides of the train block that fit together, and what a worker then needs."""

    changes: dict[str, Any]
    bytes: int
    cost: str

    def __str__(self) -> str:
        said = " ".join(f"{name}={value}" for name, value in self.changes.items())
        return f"{said}  ({self.bytes / 2**30:.1f} GiB; {self.cost})"


class Change(NamedTuple):
    values: dict[str, Any]
    cost: str


def _changes(config: TrainConfig, stage: int, gpu: bool) -> list[Change]:
    """Single changes that save memory, the mildest first; those before `lora` leave the result as it is."""
    found = []
    if config.reference == "live":
        found.append(Change({"reference": "cached"}, "same objective, faster"))
    if not config.gradient_checkpointing:
        found.append(Change({"gradient_checkpointing": True}, "same result, a third slower"))
    if config.batching == "length-grouped" and (config.batch_tokens or 0) > 2 * config.max_length:
        found.append(Change({"batch_tokens": max(64, 2 * config.max_length)}, "same result, slower"))
    if config.batch_size > 1:
        smaller = {"batch_size": 1, "gradient_accumulation": config.gradient_accumulation * config.batch_size}
        found.append(Change(smaller, "same step, slower"))
    if stage < 3:
        found.append(Change({"deepspeed": "zero3"}, "same result, more traffic"))
    if gpu and config.offload is None:
        found.append(Change({"offload": "optimizer"}, "same result, needs memory of the node, slower"))
        if stage == 3 or config.deepspeed != "zero3":
            both = {"deepspeed": "zero3", "offload": "parameters"}
            found.append(Change(both, "same result, needs memory of the node, much slower"))
    for factor in (2, 4, 8):
        rows = config.batch_size * config.gradient_accumulation
        if rows % factor == 0:
            fewer = {"workers": config.workers * factor, "deepspeed": "zero3"}
            if config.gradient_accumulation % factor == 0:
                fewer["gradient_accumulation"] = config.gradient_accumulation // factor
                found.append(Change(fewer, f"same step on {factor} times the workers"))
            elif config.batch_size % factor == 0:
                fewer["batch_size"] = config.batch_size // factor
                found.append(Change(fewer, f"same step on {factor} times the workers"))
    if gpu and config.dtype == "float32":
        found.append(Change({"dtype": "bfloat16", "autocast": None}, "weights in 16 bits: another result"))
    if config.tuning == "full" and config.trainable is None:
        found.append(Change({"tuning": "lora"}, "another method of tuning"))
        if gpu:
            found.append(Change({"tuning": "qlora", "merge_into": "parent"}, "another method of tuning"))
    elif config.tuning == "lora" and gpu:
        found.append(Change({"tuning": "qlora", "merge_into": "parent"}, "4-bit weights: another result"))
    return found


def advise(
    config: TrainConfig,
    stage: int,
    gpu: bool,
    limit: int,
    memory_of: Callable[[TrainConfig], Memory],
) -> list[Advice]:
    """Up to `MOST` sets of changes that make ``config`` fit ``limit`` bytes: no set holds another one that suffices."""
    found: list[Advice] = []
    enough: list[set[int]] = []
    changes = _changes(config, stage, gpu)
    for count in range(1, TOGETHER + 1):
        for chosen in itertools.combinations(range(len(changes)), count):
            if len(found) >= MOST:
                return found
            if any(sufficient <= set(chosen) for sufficient in enough):
                continue
            merged = _merged([changes[index].values for index in chosen])
            changed = None if merged is None else _valid(config, merged)
            if merged is None or changed is None:
                continue
            memory = memory_of(changed)
            if memory.needed("device") <= limit:
                enough.append(set(chosen))
                cost = "; ".join(dict.fromkeys(changes[index].cost for index in chosen))
                found.append(Advice(merged, memory.needed("device"), cost))
        if found:
            return found
    return found


def _merged(parts: list[dict[str, Any]]) -> dict[str, Any] | None:
    """All of them, or None where two disagree."""
    merged: dict[str, Any] = {}
    for name, value in ((name, value) for part in parts for name, value in part.items()):
        if merged.setdefault(name, value) != value:
            return None
    return merged


def _valid(config: TrainConfig, changes: dict[str, Any]) -> TrainConfig | None:
    values = {**config.model_dump(), **changes}
    if values["tuning"] != "full" and config.tuning == "full":
        values["trainable"] = None
    try:
        return TrainConfig.model_validate(values)
    except (ConfigError, ValueError):
        return None
