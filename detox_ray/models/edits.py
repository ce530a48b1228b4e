"""Edit single neurons by editing weights, and restore the weights bit by bit afterwards.

Adding a constant to a neuron's activation is the same as adding that multiple of its value vector to the bias of the
down projection. Replacing a neuron by another model's changes rows and columns of weights. So no intervention needs a
hook in transformers. vLLM's weights may be packed or sharded: vllm_edits.py makes the same edits there.

Shapes: n neurons, D width.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
from safetensors.torch import load, save
from torch import nn

from detox_ray.models.mlp import Mlps
from detox_ray.models.neurons import Neuron, by_layer


class NeuronWeights(NamedTuple):
    """The weights of chosen neurons of one layer."""

    indices: list[int]
    values_nD: torch.Tensor  # what each neuron writes
    incoming: list[torch.Tensor]  # what decides when each is active: (n, …) each, in the order of `Mlps.incoming`


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


def packed(weights: dict[int, NeuronWeights]) -> bytes:
    """Return the weights as bytes in the format of safetensors, for other processes."""
    tensors: dict[str, torch.Tensor] = {}
    for layer, given in weights.items():
        tensors |= {f"{layer}.indices": torch.tensor(given.indices), f"{layer}.values": given.values_nD.contiguous()}
        tensors |= {f"{layer}.incoming.{place}": rows.contiguous() for place, rows in enumerate(given.incoming)}
    return save(tensors)


def unpacked(data: bytes) -> dict[int, NeuronWeights]:
    """Return what `packed` was given."""
    tensors = load(data)
    weights = {}
    for layer in sorted({int(name.partition(".")[0]) for name in tensors}):
        incoming = sum(name.startswith(f"{layer}.incoming.") for name in tensors)
        weights[layer] = NeuronWeights(
            tensors[f"{layer}.indices"].tolist(),
            tensors[f"{layer}.values"],
            [tensors[f"{layer}.incoming.{place}"] for place in range(incoming)],
        )
    return weights


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
    """Give neurons the weights that those with the same layer and index have in another model.

    Args:
        mlps: The model whose neurons change. Its weights must not be quantised.
        weights: The other model's `neuron_weights`.
        values: Whether to transplant what the neurons write.
        keys: Whether to transplant what decides when the neurons are active.
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
    """Write ``new`` into rows of a view of the weights, and restore the old rows afterwards."""
    old = rows[indices].clone()
    rows[indices] = new.to(rows)
    try:
        yield
    finally:
        rows[indices] = old


@contextmanager
def _added_bias(module: nn.Module, added_D: torch.Tensor) -> Iterator[None]:
    """Add to a projection's bias for the duration of the block. A projection without a bias gets one meanwhile."""
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
