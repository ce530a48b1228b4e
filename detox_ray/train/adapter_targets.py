"""The choice of the modules that get an adapter.

Only workers import this module.
"""

from typing import Any, Literal

from detox_ray.config import InputError
from detox_ray.models.families import FAMILIES, family_of
from detox_ray.models.layout import ADAPTABLE, end_names, ends_are_tied


def target_modules(model: Any, chosen: str | list[str], field: str) -> list[str] | Literal["all-linear"]:
    """Return PEFT's target_modules for a causal language model without an adapter.

    Args:
        model: The model that gets the adapter.
        chosen: ``lora.target_modules`` of the train block. As in PEFT, a name selects every module whose dotted name
            equals it or ends with it. If input embedding and head are one tensor, either name selects the embedding,
            whose adapter then serves both (head_adapter.py).
        field: The experiment's field of ``chosen``, for messages.

    Raises:
        InputError: If a name selects no module that can have an adapter, or the family has no `li2024`.
    """
    if chosen == "all-linear":
        return "all-linear"
    names = _li2024(model.config.model_type, field) if chosen == "li2024" else chosen
    adaptable = [name for name, module in model.named_modules() if isinstance(module, ADAPTABLE)]
    embedding, head = end_names(model)
    targets = []
    for name in names:
        if not any(_matches(name, module) for module in adaptable):
            there = ", ".join(sorted({module.rpartition(".")[2] for module in adaptable}))
            raise InputError(f"{field}: {name!r} is no linear or embedding module of the model (there are {there})")
        targets.append(embedding if ends_are_tied(model) and _matches(name, head) else name)
    return list(dict.fromkeys(targets))


def _li2024(model_type: str, field: str) -> tuple[str, ...]:
    listed = family_of(model_type).li2024
    if listed is None:
        has = ", ".join(sorted(name for name, family in FAMILIES.items() if family.li2024))
        raise InputError(
            f"{field}: li2024 names no modules for {model_type} (only for {has}): use all-linear or name them"
        )
    return listed


def _matches(target: str, name: str) -> bool:
    return name == target or name.endswith(f".{target}")
