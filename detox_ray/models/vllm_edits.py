"""Edits of neurons within vLLM's workers, whose weights may be packed, quantised or sharded over GPUs.

vLLM's weights cannot always be read or written, so both edits change what enters and leaves a down projection:

- An offset adds a constant vector to its output. The projection itself computes the vector, with the offsets as
  activations. With tensor parallelism it sums the parts of the ranks as usual.
- A transplant sets the replaced neurons' activations to 0, and adds to the output what the given neurons write. Their
  activations come from what the MLP reads, which is the same on all ranks, and from the MLP's own activation function.

Shapes: T tokens of a batch, D width, N neurons of a layer on this rank, n given neurons of a layer.
"""

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

import torch

from detox_ray.models.edits import NeuronWeights, unpacked
from detox_ray.models.families import MlpNames, family_of

EXTENSION = f"{__name__}.NeuronEdits"  # for vLLM's argument worker_extension_cls


class NeuronEdits:
    """Methods that vLLM adds to its worker class. `LLM.collective_rpc` calls them by name.

    The engine must run without CUDA graphs, which would not contain the hooks.
    """

    def add_to_activations(self, layers: Sequence[int], neurons: Sequence[int], amounts: Sequence[float]) -> None:
        """Add a constant to each neuron's activation, at every position, until `undo_edits`.

        Args:
            layers: The layer of each neuron.
            neurons: The index of each neuron in its layer.
            amounts: The amount that is added to the activation of each neuron.
        """
        worker: Any = self
        names, blocks = _mlps(worker)
        hooks = _hooks(worker)
        for layer in dict.fromkeys(layers):
            down = blocks[layer].get_submodule(names.down)
            m_N = torch.zeros(down.input_size_per_partition, dtype=worker.model_config.dtype, device=worker.device)
            for at, index, amount in zip(layers, neurons, amounts, strict=True):
                if at == layer and 0 <= index - _first(down) < len(m_N):
                    m_N[index - _first(down)] += amount
            hooks.append(down.register_forward_hook(_adding(_constant(_without_bias(down, m_N)))))

    def replace_neurons(self, weights: bytes) -> None:
        """Replace neurons by those with the same layer and index of another model, until `undo_edits`.

        Args:
            weights: The other model's `neuron_weights`, as `edits.packed` returns them.
        """
        worker: Any = self
        names, blocks = _mlps(worker)
        hooks = _hooks(worker)
        for layer, given in unpacked(weights).items():
            down = blocks[layer].get_submodule(names.down)
            mlp = blocks[layer].get_submodule(names.down.rpartition(".")[0])
            neurons = _Replaced(given, mlp, names, worker.model_config.dtype, worker.device)
            local = [index - _first(down) for index in given.indices]
            replaced = [index for index in local if 0 <= index < down.input_size_per_partition]
            hooks += [
                mlp.register_forward_pre_hook(neurons.read),
                down.register_forward_pre_hook(
                    _silencing(torch.tensor(replaced, dtype=torch.long, device=worker.device))
                ),
                down.register_forward_hook(_adding(neurons.written)),
            ]

    def undo_edits(self) -> None:
        """Undo all edits."""
        worker: Any = self
        for hook in _hooks(worker):
            hook.remove()
        worker.edit_hooks = []


class _Replaced:
    """The neurons that replace those of one layer.

    Args:
        given: Their weights.
        mlp: The MLP in vLLM, whose activation function they use.
        names: The names of the MLP's parts.
        dtype: The model's.
        device: The worker's.
    """

    def __init__(self, given: NeuronWeights, mlp: Any, names: MlpNames, dtype: torch.dtype, device: Any):
        from vllm.model_executor.layers.linear import LinearBase

        projections = 1 if names.up is None else 2
        self._incoming = [rows.to(device, dtype) for rows in given.incoming[:projections]]
        self._biases = [bias_n.to(device, dtype) for bias_n in given.incoming[projections:]]
        self._values_nD = given.values_nD.to(device, dtype)
        # Its kernels take only some numbers of neurons; its native form takes any.
        (activation,) = (child for child in mlp.children() if not isinstance(child, LinearBase))
        self._activation = getattr(activation, "forward_native", activation)
        self._read_TD = torch.empty(0)

    def read(self, _: Any, inputs: Any) -> None:
        """Keep what the MLP reads."""
        (self._read_TD,) = inputs

    def written(self) -> torch.Tensor:
        """Return what the neurons write to the residual stream, (T, D)."""
        parts = [
            torch.nn.functional.linear(self._read_TD, rows_nD, bias_n)
            for rows_nD, bias_n in zip_longest(self._incoming, self._biases)
        ]
        written_TD: torch.Tensor = self._activation(torch.cat(parts, dim=-1)) @ self._values_nD
        return written_TD


def _mlps(worker: Any) -> tuple[MlpNames, Any]:
    """Return the names of an MLP's parts, and the model's blocks."""
    names = family_of(worker.model_config.hf_config.model_type).mlp
    assert names is not None, "refused before the engine is started"
    return names, worker.get_model().get_submodule(names.blocks)


def _hooks(worker: Any) -> list[Any]:
    """Return the hooks of all edits, which the worker keeps."""
    worker.edit_hooks = getattr(worker, "edit_hooks", [])
    hooks: list[Any] = worker.edit_hooks
    return hooks


def _first(down: Any) -> int:
    """Return the index of this rank's first neuron."""
    first: int = down.tp_rank * down.input_size_per_partition
    return first


@torch.inference_mode()
def _without_bias(down: Any, m_N: torch.Tensor) -> torch.Tensor:
    """Return the output of a projection for activations, without its bias."""
    bias, down.bias = down.bias, None
    try:
        output = down(m_N[None])
    finally:
        down.bias = bias
    returned: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return returned[0].clone()


def _constant(added_D: torch.Tensor) -> Callable[[], torch.Tensor]:
    return lambda: added_D


def _adding(written: Callable[[], torch.Tensor]) -> Any:
    def hook(_: Any, inputs: Any, output: Any) -> Any:
        return (output[0] + written(), *output[1:]) if isinstance(output, tuple) else output + written()

    return hook


def _silencing(neurons: torch.Tensor) -> Any:
    def hook(_: Any, inputs: Any) -> Any:
        return (inputs[0].index_fill(-1, neurons, 0), *inputs[1:])

    return hook
