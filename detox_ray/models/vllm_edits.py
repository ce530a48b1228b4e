"""Offsets of neurons within vLLM's workers, whose weights may be packed, quantised or sharded over GPUs.

An offset adds a constant vector to the output of a down projection. vLLM's weights cannot always be read, so the vector
is computed by the projection itself, with the offsets as activations. So the same code works for packed and quantised
weights, and with tensor parallelism the projection sums the parts of the ranks as usual.

Shapes: N neurons of a layer on this rank.
"""

from collections.abc import Sequence
from typing import Any

import torch

from detox_ray.models.families import family_of

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
        model, dtype = worker.get_model(), worker.model_config.dtype
        names = family_of(worker.model_config.hf_config.model_type).mlp
        assert names is not None, "refused before the engine is started"
        blocks = model.get_submodule(names.blocks)
        worker.edit_hooks = getattr(worker, "edit_hooks", [])
        for layer in dict.fromkeys(layers):
            down = blocks[layer].get_submodule(names.down)
            first = down.tp_rank * down.input_size_per_partition
            m_N = torch.zeros(down.input_size_per_partition, dtype=dtype, device=worker.device)
            for at, index, amount in zip(layers, neurons, amounts, strict=True):
                if at == layer and 0 <= index - first < len(m_N):
                    m_N[index - first] += amount
            worker.edit_hooks.append(down.register_forward_hook(_adding(_without_bias(down, m_N))))

    def undo_edits(self) -> None:
        """Remove all constants that were added."""
        worker: Any = self
        for hook in worker.edit_hooks:
            hook.remove()
        worker.edit_hooks = []


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


def _adding(added_D: torch.Tensor) -> Any:
    def hook(_: Any, inputs: Any, output: Any) -> Any:
        return (output[0] + added_D, *output[1:]) if isinstance(output, tuple) else output + added_D

    return hook
