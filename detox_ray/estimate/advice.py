"""Search for the changes of a train block that make it fit. Each is tried, the mildest first."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

from detox_ray.config import ConfigError, TrainConfig
from detox_ray.estimate.training_memory import Memory

MAX_ADVICE = 4
MAX_CHANGES = 4  # in one piece of advice


class Advice(NamedTuple):
    """Overrides of the train block that together make it fit."""

    changes: dict[str, Any]
    bytes: int  # that a worker then needs
    cost: str

    def __str__(self) -> str:
        overrides = " ".join(f"{name}={value}" for name, value in self.changes.items())
        return f"{overrides}  ({self.bytes / 2**30:.1f} GiB; {self.cost})"


class Change(NamedTuple):
    """One override of the train block, or several that only work together."""

    values: dict[str, Any]
    cost: str


def _changes(config: TrainConfig, stage: int, gpu: bool) -> list[Change]:
    """Return the single changes that save memory, the mildest first."""
    changes = []
    # Without influence on the result.
    if config.reference == "live":
        changes.append(Change({"reference": "cached"}, "same objective, faster"))
    if not config.gradient_checkpointing:
        changes.append(Change({"gradient_checkpointing": True}, "same result, a third slower"))
    if config.batching == "length-grouped" and (config.batch_tokens or 0) > 2 * config.max_length:
        changes.append(Change({"batch_tokens": max(64, 2 * config.max_length)}, "same result, slower"))
    if config.batch_size > 1:
        smaller = {"batch_size": 1, "gradient_accumulation": config.gradient_accumulation * config.batch_size}
        changes.append(Change(smaller, "same step, slower"))
    if stage < 3:
        changes.append(Change({"deepspeed": "zero3"}, "same result, more traffic"))
    if gpu and config.offload is None:
        changes.append(Change({"offload": "optimizer"}, "same result, needs memory of the node, slower"))
        if stage == 3 or config.deepspeed != "zero3":
            both = {"deepspeed": "zero3", "offload": "parameters"}
            changes.append(Change(both, "same result, needs memory of the node, much slower"))
    # More workers, each with fewer rows of the same step.
    for factor in (2, 4, 8):
        rows = config.batch_size * config.gradient_accumulation
        if rows % factor == 0:
            fewer = {"workers": config.workers * factor, "deepspeed": "zero3"}
            if config.gradient_accumulation % factor == 0:
                fewer["gradient_accumulation"] = config.gradient_accumulation // factor
                changes.append(Change(fewer, f"same step on {factor} times the workers"))
            elif config.batch_size % factor == 0:
                fewer["batch_size"] = config.batch_size // factor
                changes.append(Change(fewer, f"same step on {factor} times the workers"))
    # With another result.
    if gpu and config.dtype == "float32":
        changes.append(Change({"dtype": "bfloat16", "autocast": None}, "weights in 16 bits: another result"))
    if config.tuning == "full" and config.trainable is None:
        changes.append(Change({"tuning": "lora"}, "another method of tuning"))
        if gpu:
            changes.append(Change({"tuning": "qlora", "merge_into": "parent"}, "another method of tuning"))
    elif config.tuning == "lora" and gpu:
        changes.append(Change({"tuning": "qlora", "merge_into": "parent"}, "4-bit weights: another result"))
    return changes


def advise(
    config: TrainConfig,
    stage: int,
    gpu: bool,
    limit: int,
    memory_of: Callable[[TrainConfig], Memory],
) -> list[Advice]:
    """Find up to `MAX_ADVICE` sets of changes that make a train block fit. No set contains another one that suffices.

    Args:
        config: The train block.
        stage: Its ZeRO stage.
        gpu: Whether its workers have a GPU each.
        limit: Bytes that a worker may hold.
        memory_of: Estimates the memory of a worker under a changed block.
    """
    advice: list[Advice] = []
    sufficient: list[set[int]] = []
    changes = _changes(config, stage, gpu)
    for count in range(1, MAX_CHANGES + 1):
        for chosen in itertools.combinations(range(len(changes)), count):
            if len(advice) >= MAX_ADVICE:
                return advice
            if any(indices <= set(chosen) for indices in sufficient):
                continue
            merged = _merged([changes[index].values for index in chosen])
            changed = None if merged is None else _valid(config, merged)
            if merged is None or changed is None:
                continue
            memory = memory_of(changed)
            if memory.needed("device") <= limit:
                sufficient.append(set(chosen))
                cost = "; ".join(dict.fromkeys(changes[index].cost for index in chosen))
                advice.append(Advice(merged, memory.needed("device"), cost))
        if advice:
            return advice
    return advice


def _merged(parts: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Merge overrides; return None if two of them disagree."""
    merged: dict[str, Any] = {}
    for name, value in ((name, value) for part in parts for name, value in part.items()):
        if merged.setdefault(name, value) != value:
            return None
    return merged


def _valid(config: TrainConfig, changes: dict[str, Any]) -> TrainConfig | None:
    """Return the changed block, or None if it is not valid."""
    values = {**config.model_dump(), **changes}
    if values["tuning"] != "full" and config.tuning == "full":
        values["trainable"] = None
    try:
        return TrainConfig.model_validate(values)
    except (ConfigError, ValueError):
        return None
