"""Mean hidden states of texts: one vector per text and layer, pooled while the model runs.

The layers are those of transformers' ``hidden_states``: the input of each block, and the output of the final norm. A
batch's states are pooled inside the hook, so memory does not grow with the length of a text.

Shapes: B texts, T tokens, L blocks, D width, P all texts.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from detox_ray.config import InputError
from detox_ray.models.mlp import Mlps
from detox_ray.models.padding import padded_rows


def pooled(
    mlps: Mlps,
    rows: Sequence[list[int]],
    pad: int,
    budget: int,
    skipped: int = 0,
    layer: Literal["final", "all"] | int = "final",
) -> NDArray[np.float32]:
    """Return mean states of each text: (P, L + 1, D) of all layers, (P, 1, D) of one.

    Args:
        mlps: the model's MLPs, which know its blocks.
        rows: token ids, at least one each.
        pad: token id that fills a batch.
        budget: padded tokens of a batch.
        skipped: number of tokens at the beginning that the mean leaves out, such as a begin token, whose state is
            large. A text that has no other tokens keeps its last one.
        layer: whose states are returned: "final", after the final norm; the number of a block, which reads them; or
            "all", those that enter each block and the final ones.

    Raises:
        InputError: The model has no such block.
    """
    blocks = _blocks(mlps, layer)
    backbone = mlps.network.base_model
    device = mlps.network.get_input_embeddings().weight.device
    order = sorted(range(len(rows)), key=lambda row: -len(rows[row]))
    parts: list[torch.Tensor] = []
    begin = 0
    while begin < len(order):
        batch = [rows[p] for p in order[begin : begin + max(1, budget // len(rows[order[begin]]))]]
        ids_BT, mask_BT = padded_rows(batch, pad, str(device))
        kept_BT = mask_BT.clone()
        for place, row in enumerate(batch):
            kept_BT[place, : min(skipped, len(row) - 1)] = 0
        with torch.inference_mode(), _inputs_pooled(blocks, kept_BT) as states:
            final_BTD = backbone(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False).last_hidden_state
            if not isinstance(layer, int):
                states.append(_mean(final_BTD, kept_BT))
        parts.append(torch.stack([state_BD.cpu() for state_BD in states], dim=1))
        begin += len(batch)
    together: NDArray[np.float32] = torch.cat(parts).numpy()
    return together[np.argsort(order)]


def _blocks(mlps: Mlps, layer: Literal["final", "all"] | int) -> list[nn.Module]:
    """Return the blocks whose input is read."""
    if not isinstance(layer, int):
        return mlps.blocks if layer == "all" else []
    if layer >= len(mlps):
        raise InputError(
            f"explain.probe.layer: must be less than {len(mlps)}, the number of the model's layers: {layer}"
        )
    return [mlps.blocks[layer]]


@contextmanager
def _inputs_pooled(blocks: Sequence[nn.Module], kept_BT: torch.Tensor) -> Iterator[list[torch.Tensor]]:
    """Collect the pooled input (B, D) of each block, in the order of the blocks."""
    entering: list[torch.Tensor] = []

    def hook(_: Any, inputs: Any, named: Any) -> None:
        entering.append(_mean(inputs[0] if inputs else named["hidden_states"], kept_BT))

    handles = [block.register_forward_pre_hook(hook, with_kwargs=True) for block in blocks]
    try:
        yield entering
    finally:
        for handle in handles:
            handle.remove()


def _mean(states_BTD: torch.Tensor, kept_BT: torch.Tensor) -> torch.Tensor:
    kept_BT1 = kept_BT.to(states_BTD.device)[..., None]
    return (states_BTD.float() * kept_BT1).sum(1) / kept_BT1.sum(1)
