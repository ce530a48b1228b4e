"""Edits of single neurons as edits of weights, undone to the bit: what an intervention does needs no hook while a model
generates.

Adding a constant to a neuron's activation is adding that multiple of its value vector to the down projection's bias.
Another model's neuron is a change of rows and columns. So an edited model is a model, and every engine that runs the
model runs the edited one.

Shapes: n neurons, D width.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
from torch import nn

from detox_ray.models.mlp import Mlps
from detox_ray.models.neurons import Neuron, by_layer


class NeuronWeights(NamedTuple):
    """The weights of chosen neurons of one layer: what each writes, and what decides when."""

    indices: list[int]
    values_nD: torch.Tensor
    incoming: list[torch.Tensor]  # (n, …) each, in the order of `Mlps.incoming`


def neuron_weights(mlps: Mlps, neurons: Sequence[Neuron]) -> dict[int, NeuronWeights]:
    """Copy the weights of some neurons to the CPU, by layer."""
    return {
        layer: NeuronWeights(
            indices,
            mlps.value_vectors(layer)[indices].cpu(),
            [rows[indices].cpu() for rows in mlps.incoming(layer)],
        )
        for layer, indices in by_layer(neurons).items()
    }


@contextmanager
def offset(mlps: Mlps, neurons: Sequence[Neuron], amounts: Sequence[float]) -> Iterator[None]:
    """Add a constant to each neuron's activation, at every position and step."""
    amount_of = dict(zip(neurons, amounts, strict=True))
    with ExitStack() as stack:
        for layer, indices in by_layer(neurons).items():
            values_nD = mlps.value_vectors(layer)[indices]
            factors_n = torch.tensor([amount_of[layer, index] for index in indices], device=values_nD.device)
            added_D = (factors_n @ values_nD.float()).to(values_nD.dtype)
            stack.enter_context(_added_bias(mlps.downs[layer], added_D))
        yield


@contextmanager
def transplanted(
    mlps: Mlps, weights: dict[int, NeuronWeights], values: bool = True, keys: bool = True
) -> Iterator[None]:
    """Give neurons the weights of another model's, of the same layers and indices.

    Args:
        mlps: the model that gets them; its weights are not quantised.
        weights: what `neuron_weights` of the other model returned.
        values: whether they write what the other model's neurons write.
        keys: whether they are active when the other model's neurons are.
    """
    with ExitStack() as stack:
        for layer, given in weights.items():
            if values:
                stack.enter_context(_replaced(mlps.value_vectors(layer), given.indices, given.values_nD))
            for rows, new in zip(mlps.incoming(layer), given.incoming, strict=True) if keys else ():
                stack.enter_context(_replaced(rows, given.indices, new))
        yield


@contextmanager
def _replaced(rows: torch.Tensor, indices: list[int], new: torch.Tensor) -> Iterator[None]:
    """Write ``new`` into rows of a view of the weights, and the old rows afterwards."""
    old = rows[indices].clone()
    rows[indices] = new.to(rows)
    try:
        yield
    finally:
        rows[indices] = old


@contextmanager
def _added_bias(module: nn.Module, added_D: torch.Tensor) -> Iterator[None]:
    """Add to a projection's bias; one that has none gets one for this while."""
    bias = module.bias
    if bias is None:
        module.bias = nn.Parameter(added_D, requires_grad=False)
        try:
            yield
        finally:
            module.bias = None
        return
    assert isinstance(bias, nn.Parameter)
    old = bias.data.clone()
    bias.data += added_D.to(bias.data)
    try:
        yield
    finally:
        bias.data.copy_(old)
