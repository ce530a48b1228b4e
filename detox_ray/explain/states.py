"""Mean hidden states of texts: one vector per text and layer, pooled while the model runs.

The layers are those of transformers' ``hidden_states``: the input of each block, and the output of the final norm. A
batch's states are pooled inside the hook, so memory does not grow with the length of a text.

Shapes: B texts, T tokens, L blocks, D width, P all texts.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from detox_ray.models.mlp import Mlps
from detox_ray.models.padding import padded_rows


def pooled(
    mlps: Mlps, rows: Sequence[list[int]], pad: int, budget: int, skipped: int = 0, every_layer: bool = False
) -> NDArray[np.float32]:
    """Return (P, L + 1, D) mean states of each text, or (P, 1, D) only those after the final norm.

    Args:
        mlps: the model's MLPs, which know its blocks.
        rows: token ids of each text, at least one.
        pad: token id of the padding.
        budget: maximum number of tokens of a batch, padding included.
        skipped: number of tokens at the beginning that the mean leaves out, such as a begin token, whose state is
            large. A text that has no other tokens keeps its last one.
        every_layer: whether to return all layers.
    """
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
        with torch.inference_mode(), _inputs_pooled(mlps if every_layer else None, kept_BT) as entering:
            final_BTD = backbone(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False).last_hidden_state
            layers = [*entering, _mean(final_BTD, kept_BT)]
        parts.append(torch.stack([layer.cpu() for layer in layers], dim=1))
        begin += len(batch)
    together: NDArray[np.float32] = torch.cat(parts).numpy()
    return together[np.argsort(order)]


@contextmanager
def _inputs_pooled(mlps: Mlps | None, kept_BT: torch.Tensor) -> Iterator[list[torch.Tensor]]:
    """Collect the pooled input of each block, in the blocks' order; collect nothing if ``mlps`` is None."""
    entering: list[torch.Tensor] = []

    def hook(_: Any, inputs: Any, named: Any) -> None:
        entering.append(_mean(inputs[0] if inputs else named["hidden_states"], kept_BT))

    handles = [block.register_forward_pre_hook(hook, with_kwargs=True) for block in (mlps.blocks if mlps else ())]
    try:
        yield entering
    finally:
        for handle in handles:
            handle.remove()


def _mean(states_BTD: torch.Tensor, kept_BT: torch.Tensor) -> torch.Tensor:
    kept_BT1 = kept_BT.to(states_BTD.device)[..., None]
    return (states_BTD.float() * kept_BT1).sum(1) / kept_BT1.sum(1)
