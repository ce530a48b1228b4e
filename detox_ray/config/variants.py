"""Seeds and sweeps: a train block that stands for several models.

``seeds: [0, 1, 2]`` gives one model per seed. A list in any other field gives one model per entry, and several lists
give one per combination. Each of these models is a variant of the family that the YAML names, and records its own
values of the fields that vary.
"""

import itertools
import re
from collections.abc import Iterator
from typing import Any

from pydantic import JsonValue

from detox_ray.config.base import ConfigError, Name, Problem, Strict

# Fields that take a list. A sweep over one of them is a list that contains lists.
_LISTS = {"trainable", "tracking", "lora.target_modules"}


class Variant(Strict):
    """The place of a model in its family."""

    family: Name
    values: dict[str, JsonValue]  # field of the train block (dotted), or "seed" -> this variant's value

    @property
    def label(self) -> str:
        """Return the variant's name without its seed. Siblings that differ only in the seed share it."""
        return _label(self.family, {name: value for name, value in self.values.items() if name != "seed"})


def expand(models: Any) -> Any:
    """Replace every family in the YAML's ``models`` by its variants.

    A value that is not a mapping is returned unchanged, because the models' own validation reports it. Raises
    ConfigError, with fields relative to ``models``, if a list is empty, a value repeats or a name is taken.
    """
    if not isinstance(models, dict):
        return models
    expanded: dict[Any, Any] = {}
    problems: list[Problem] = []
    for name, model in models.items():
        block = model.get("train") if isinstance(model, dict) else None
        lists = dict(_lists(block)) if isinstance(block, dict) else {}
        if not isinstance(block, dict) or not lists:
            expanded[name] = model
            continue
        problems_before = len(problems)
        if "seeds" in block and "seed" in block:
            problems.append(Problem(f"{name}.train.seed", block["seed"], "seeds is given, too: give only one of them"))
        for field, alternatives in lists.items():
            shown = "seeds" if field == "seed" else field
            if not alternatives or len({repr(value) for value in alternatives}) < len(alternatives):
                rule = "must hold at least one value" if not alternatives else "each value may occur only once"
                problems.append(Problem(f"{name}.train.{shown}", alternatives, rule))
        if len(problems) > problems_before:
            continue
        for combination in itertools.product(*lists.values()):
            values = dict(zip(lists, combination, strict=True))
            label = _label(str(name), values)
            if label in expanded or label in models:
                problems.append(Problem(label, label, f"is also the name of a variant of {name}"))
            variant = {"family": name, "values": values}
            expanded[label] = {**model, "train": _with(block, values), "variant": variant}
    if problems:
        raise ConfigError(problems)
    return expanded


def as_written(field: str, models: Any) -> str:
    """Return a field of the experiment as the YAML names it: in a family's train block, not in a variant's."""
    variant = re.fullmatch(r"(models\.)(.+?)(\.train(?:\..+)?)", field)
    if variant is None or not isinstance(models, dict) or variant[2] in models:
        return field
    families = [str(name) for name in models if variant[2].startswith(f"{name}-")]
    return f"{variant[1]}{max(families, key=len)}{variant[3]}" if families else field


def _lists(block: dict[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    """Yield the dotted fields that hold a list of alternatives. Seeds come last, so that siblings are adjacent."""
    flat = {name: value for name, value in block.items() if name not in ("seeds", "lora")}
    lora = block.get("lora")
    flat |= {f"lora.{name}": value for name, value in lora.items()} if isinstance(lora, dict) else {}
    for name, value in flat.items():
        if isinstance(value, list) and (name not in _LISTS or any(isinstance(entry, list) for entry in value)):
            yield name, value
    if "seeds" in block:
        yield "seed", block["seeds"] if isinstance(block["seeds"], list) else [block["seeds"]]


def _with(block: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    single = {name: value for name, value in block.items() if name != "seeds"}
    for name, value in values.items():
        if name.startswith("lora."):
            single["lora"] = {**single["lora"], name.removeprefix("lora."): value}
        else:
            single[name] = value
    return single


def _label(family: str, values: dict[str, Any]) -> str:
    """Return a variant's name, such as ``detox-learning_rate-1e-05-seed0``."""
    parts = [family]
    for name, value in values.items():
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        shown = re.sub(r"[^A-Za-z0-9._-]+", "_", shown).strip("_")
        parts.append(f"seed{shown}" if name == "seed" else f"{name}-{shown}")
    return "-".join(parts)
