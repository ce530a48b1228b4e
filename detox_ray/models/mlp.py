"""The MLPs of a loaded decoder, family by family: their neurons' value vectors, keys and down projections.

A neuron is (layer, index). Its activation m is what the down projection takes, and its value vector v is what that
projection adds to the residual stream for each unit of m: the MLP's output is the sum of m·v over its neurons, plus a
bias. Its key decides when it is active: a row of the gate of a gated MLP, else a row of the first projection.

Shapes: L layers, N neurons of a layer, D width.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from detox_ray.config import InputError
from detox_ray.models.families import FAMILIES, MlpNames, family_of

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
        return f"the model multiplies slices of its weights itself ({fields}): its down projection is never called"
    return None


class Mlps:
    """The MLPs of a causal language model of transformers.

    Args:
        network: the model.

    Raises:
        InputError: The family's layout is not known, or its down projections are never called.
    """

    def __init__(self, network: nn.Module):
        if reason := layout_problem(network.config.to_dict()):
            raise InputError(f"explain: {reason}")
        names = family_of(network.config.model_type).mlp
        assert names is not None
        self.network, self._names = network, names
        self.blocks: list[nn.Module] = list(network.get_submodule(names.blocks).children())
        self.downs: list[nn.Module] = [block.get_submodule(names.down) for block in self.blocks]

    @property
    def names(self) -> MlpNames:
        return self._names

    def __len__(self) -> int:
        """Return the number of layers."""
        return len(self.downs)

    @property
    def sizes(self) -> list[int]:
        """Return the number of neurons of each layer."""
        return [self.value_vectors(layer).shape[0] for layer in range(len(self))]

    def value_vectors(self, layer: int) -> torch.Tensor:
        """Return a view (N, D) of the weights: row i is neuron i's value vector, and writing to it edits the model."""
        return _by_input(self.downs[layer])

    def key_vectors(self, layer: int) -> torch.Tensor:
        """Return a view (N, D) of the weights: row i is neuron i's key."""
        return _by_output(self.blocks[layer].get_submodule(self._names.key))

    def incoming(self, layer: int) -> list[torch.Tensor]:
        """Return views whose row i is all that decides neuron i's activation: keys, a gate's other factor, biases."""
        modules = [self.blocks[layer].get_submodule(name) for name in (self._names.key, self._names.up) if name]
        biases = [module.bias for module in modules if module.bias is not None]
        return [*map(_by_output, modules), *(bias.data for bias in biases)]  # type: ignore[union-attr, operator]

    def unembedding(self) -> torch.Tensor:
        """Return the unembedding (V, D)."""
        return self.network.get_output_embeddings().weight.data  # type: ignore[operator, no-any-return]


def by_layer(neurons: Iterable[Neuron]) -> dict[int, list[int]]:
    """Return {layer: indices}, both in the order of their first occurrence."""
    grouped: dict[int, list[int]] = {}
    for layer, index in neurons:
        grouped.setdefault(layer, []).append(index)
    return grouped


def check_neurons(neurons: Sequence[Neuron], sizes: Sequence[int]) -> None:
    """Raise InputError for a neuron that the model does not have, or one that stands twice."""
    for layer, index in neurons:
        if not (0 <= layer < len(sizes) and 0 <= index < sizes[layer]):
            most = f"{len(sizes)} layers of {max(sizes)} neurons"
            raise InputError(f"explain.sources: neuron [{layer}, {index}] is not in the model, which has {most}")
    if len(set(neurons)) < len(neurons):
        twice = next(neuron for neuron in neurons if list(neurons).count(neuron) > 1)
        raise InputError(f"explain.sources: neuron {list(twice)} stands twice: an offset would count double")


def _by_input(module: nn.Module) -> torch.Tensor:
    """Return the weight with the inputs as rows."""
    weight: torch.Tensor = module.weight.data  # type: ignore[union-attr, assignment]
    return weight if isinstance(module, Conv1D) else weight.T


def _by_output(module: nn.Module) -> torch.Tensor:
    """Return the weight with the outputs as rows."""
    return _by_input(module).T
