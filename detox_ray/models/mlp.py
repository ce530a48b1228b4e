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

PLAIN = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # dtypes of weights that are not quantised
UNITS = 1024  # rows of a batch that reads quantised weights


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
        # What reads the residual stream before each MLP: its norm, or the whole block.
        self.readers = [block if names.norm is None else block.get_submodule(names.norm) for block in self.blocks]
        self.parallel = names.norm is None  # attention and MLP read the same state

    def __len__(self) -> int:
        """Return the number of layers."""
        return len(self.downs)

    @property
    def sizes(self) -> list[int]:
        """Return the number of neurons of each layer."""
        return [self.value_vectors(layer).shape[0] for layer in range(len(self))]

    def value_vectors(self, layer: int) -> torch.Tensor:
        """Return the value vectors, (N, D). Row i is the value vector of neuron i.

        The result is a view of the weights, and writing to it edits the model, unless the weights are quantised.
        """
        down = self.downs[layer]
        if getattr(getattr(down, "weight", None), "dtype", None) in PLAIN:
            return _by_input(down)
        return self._dequantised(down)

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

    @torch.inference_mode()
    def _dequantised(self, down: Any) -> torch.Tensor:
        """Return the value vectors (N, D) of a projection with quantised weights: its outputs for unit vectors."""
        embeddings = self.network.get_input_embeddings().weight
        device = next(down.parameters()).device
        zeros_N = torch.zeros(1, down.in_features, dtype=embeddings.dtype, device=device)
        parts = []
        for first in range(0, down.in_features, UNITS):
            units = torch.zeros(min(UNITS, down.in_features - first), down.in_features, dtype=zeros_N.dtype)
            units[:, first : first + len(units)].fill_diagonal_(1)
            parts.append(down(units.to(device)) - down(zeros_N))
        return torch.cat(parts)


def _by_input(module: nn.Module) -> torch.Tensor:
    """Return the weight with the inputs as rows."""
    weight: torch.Tensor = module.weight.data  # type: ignore[assignment]
    return weight if isinstance(module, Conv1D) else weight.T


def _by_output(module: nn.Module) -> torch.Tensor:
    """Return the weight with the outputs as rows."""
    return _by_input(module).T
