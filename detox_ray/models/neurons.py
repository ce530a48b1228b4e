"""Neurons by layer and index, and the models that have neurons to read. Imports no torch."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from detox_ray.config import InputError
from detox_ray.models.families import FAMILIES, family_of

Neuron = tuple[int, int]  # layer, index in the layer


def known_families() -> list[str]:
    """Return the families whose neurons can be read and edited."""
    return [family.model_type for family in FAMILIES.values() if family.mlp is not None]


def layout_problem(config: Mapping[str, Any]) -> str | None:
    """Return why the neurons of a model with this config.json cannot be read; None if they can."""
    model_type = str(config.get("model_type"))
    names = family_of(model_type).mlp
    if names is None:
        return f"no MLP layout is known for {model_type} models (known: {', '.join(known_families())})"
    if names.bypassed_by and all(int(config.get(name) or 0) > value for name, value in names.bypassed_by):
        fields = ", ".join(name for name, _ in names.bypassed_by)
        return f"the model multiplies slices of its weights itself ({fields}) and never calls its down projection"
    return None


def by_layer(neurons: Iterable[Neuron]) -> dict[int, list[int]]:
    """Return {layer: indices}, both in the order of their first occurrence."""
    grouped: dict[int, list[int]] = {}
    for layer, index in neurons:
        grouped.setdefault(layer, []).append(index)
    return grouped


def check_neurons(neurons: Sequence[Neuron], sizes: Sequence[int]) -> None:
    """Raise InputError if the model lacks one of the neurons, or if one is listed twice."""
    for layer, index in neurons:
        if not (0 <= layer < len(sizes) and 0 <= index < sizes[layer]):
            most = f"{len(sizes)} layers of {max(sizes)} neurons"
            raise InputError(f"explain.sources: neuron [{layer}, {index}] is not in the model, which has {most}")
    if len(set(neurons)) < len(neurons):
        twice = next(neuron for neuron in neurons if list(neurons).count(neuron) > 1)
        raise InputError(f"explain.sources: neuron {list(twice)} is listed twice: remove one, or offsets count double")
