"""The MLPs of a loaded decoder: their neurons' value vectors and keys, and their down projections.

A neuron is (layer, index). Its activation m is an input of the down projection, and its value vector v is what that
projection adds to the residual stream per unit of m. The MLP's output is the sum of m·v over its neurons, plus a bias.
A neuron's key decides when it is active: a row of the gate in a gated MLP, otherwise a row of the first projection.

Shapes: N neurons of a layer, D width, V vocabulary.
"""

from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from detox_ray.config import InputError
from detox_ray.models.families import family_of
from detox_ray.models.neurons import layout_problem


class Mlps:
    """The MLPs of a causal language model of transformers.

    Args:
        network: The model.

    Raises:
        InputError: The family's layout is unknown, or the model never calls its down projections.
    """

    def __init__(self, network: Any):
        if reason := layout_problem(network.config.to_dict()):
            raise InputError(f"explain: {reason}")
        names = family_of(network.config.model_type).mlp
        assert names is not None
        self.network, self._names = network, names
        self.blocks: list[nn.Module] = list(network.get_submodule(names.blocks).children())
        self.downs: list[nn.Module] = [block.get_submodule(names.down) for block in self.blocks]

    def __len__(self) -> int:
        """Return the number of layers."""
        return len(self.downs)

    @property
    def sizes(self) -> list[int]:
        """Return the number of neurons of each layer."""
        return [self.value_vectors(layer).shape[0] for layer in range(len(self))]

    def value_vectors(self, layer: int) -> torch.Tensor:
        """Return a view (N, D) of the weights. Row i is the value vector of neuron i; writing to it edits the model."""
        return _by_input(self.downs[layer])

    def incoming(self, layer: int) -> list[torch.Tensor]:
        """Return views of the weights that decide activations, row i for neuron i: keys, up projections, biases."""
        modules: list[Any] = [
            self.blocks[layer].get_submodule(name) for name in (self._names.key, self._names.up) if name
        ]
        biases = [module.bias for module in modules if module.bias is not None]
        return [*map(_by_output, modules), *(bias.data for bias in biases)]

    def unembedding(self) -> torch.Tensor:
        """Return the unembedding (V, D)."""
        weight: torch.Tensor = self.network.get_output_embeddings().weight.data
        return weight


def _by_input(module: nn.Module) -> torch.Tensor:
    """Return the weight with the inputs as rows."""
    weight: torch.Tensor = module.weight.data  # type: ignore[assignment]
    return weight if isinstance(module, Conv1D) else weight.T


def _by_output(module: nn.Module) -> torch.Tensor:
    """Return the weight with the outputs as rows."""
    return _by_input(module).T
