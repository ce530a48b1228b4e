"""The residual stream before and after tuning: mean states before each MLP, for both models on the same prompts.

Shapes: B prompts, T tokens, L layers, D width.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from detox_ray.config import InputError
from detox_ray.explain.tables import RESIDUAL_SHIFTS, RESIDUAL_STATES
from detox_ray.models.mlp import Mlps
from detox_ray.models.padding import padded_rows
from detox_ray.storage.tables import OK

Floats = NDArray[np.float64]
BLOCK_INPUT = "block_input"


def mean_states(
    mlps: Mlps, prompts: Sequence[list[int]], pad: int, budget: int, positions: Literal["last", "all"]
) -> Floats:
    """Return mean states (L, D) before each MLP.

    Args:
        mlps: the model's MLPs.
        prompts: token ids of each prompt, at least one.
        pad: token id of the padding.
        budget: maximum number of tokens of a batch, padding included.
        positions: "last" for each prompt's last token; "all" for all positions, padding on the left included, as in the
            script of Lee et al.
    """
    sums: list[torch.Tensor | None] = [None] * len(mlps)
    read_BT = torch.empty(0)

    def hook(layer: int) -> Any:
        def add(_: Any, inputs: Any, named: Any) -> None:
            states_BTD = inputs[0] if inputs else named["hidden_states"]
            total = states_BTD[read_BT.to(states_BTD.device)].sum(0, dtype=torch.float64)
            before = sums[layer]
            sums[layer] = total if before is None else before + total

        return add

    handles = [
        reader.register_forward_pre_hook(hook(layer), with_kwargs=True) for layer, reader in enumerate(mlps.readers)
    ]
    longest = max(map(len, prompts))
    device = str(mlps.network.get_input_embeddings().weight.device)
    count = 0
    try:
        for first in range(0, len(prompts), max(1, budget // longest)):
            batch = prompts[first : first + max(1, budget // longest)]
            ids_BT, mask_BT = padded_rows(batch, pad, device, side="left")
            if positions == "all":  # pad all prompts to the same length, so that batching does not change the result
                missing = longest - ids_BT.shape[1]
                ids_BT = torch.nn.functional.pad(ids_BT, (missing, 0), value=pad)
                mask_BT = torch.nn.functional.pad(mask_BT, (missing, 0))
                read_BT = torch.ones_like(mask_BT, dtype=torch.bool)
            else:
                read_BT = torch.zeros_like(mask_BT, dtype=torch.bool)
                read_BT[:, -1] = True
            places_BT = (mask_BT.cumsum(-1) - 1).clamp(min=0)
            with torch.inference_mode():
                mlps.network.base_model(
                    input_ids=ids_BT, attention_mask=mask_BT, position_ids=places_BT, use_cache=False
                )
            count += int(read_BT.sum())
    finally:
        for handle in handles:
            handle.remove()
    states: Floats = np.stack([total.cpu().numpy() for total in sums if total is not None]) / count
    return states


def state_rows(states_LD: Floats, parallel: bool) -> pa.Table:
    """Return RESIDUAL_STATES. ``parallel`` means that a block's attention and MLP read the same state."""
    status = BLOCK_INPUT if parallel else OK
    rows = [{"layer": layer, "state": state, "status": status} for layer, state in enumerate(states_LD)]
    return pa.Table.from_pylist(rows, schema=RESIDUAL_STATES.columns)


def shift_rows(before: pa.Table, after: pa.Table, direction_D: Floats) -> pa.Table:
    """Return RESIDUAL_SHIFTS between two models' RESIDUAL_STATES.

    Raises:
        InputError: The models have different shapes.
    """
    unit_D = direction_D / np.linalg.norm(direction_D)
    sides = [sorted(table.to_pylist(), key=lambda row: row["layer"]) for table in (before, after)]
    if [len(row["state"]) for row in sides[0]] != [len(row["state"]) for row in sides[1]]:
        raise InputError(
            "explain: a tuned model and its parent have residual streams of different shapes: remove the model from "
            "explain.models"
        )
    rows = []
    for old, new in zip(*sides, strict=True):
        state_D = np.array(old["state"])
        shift_D = np.array(new["state"]) - state_D
        norm = float(np.linalg.norm(shift_D))
        row = {
            "layer": old["layer"],
            "norm": norm,
            "relative": norm / max(1e-12, float(np.linalg.norm(state_D))),
            "cosine": float(shift_D @ unit_D) / norm if norm else 0.0,
            "status": old["status"],
        }
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=RESIDUAL_SHIFTS.columns)
