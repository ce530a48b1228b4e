"""Greedy continuations as token ids: the texts on which activations are read.

Shapes: B rows, T tokens, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import torch

from detox_ray.models.causal_model import CausalModel
from detox_ray.models.padding import padded_rows

ROWS = 128  # rows of a batch


def end_tokens(model: CausalModel) -> list[int]:
    """Return the tokens that end a text according to the model's generation config and its tokenizer."""
    ends = model.network.generation_config.eos_token_id
    tokenizer_end = model.codec.tokenizer.eos_token_id
    return sorted({*(ends if isinstance(ends, list) else [ends]), tokenizer_end} - {None})


def greedy(
    model: CausalModel, prompts: Sequence[list[int]], new_tokens: int, after_end: bool = False
) -> list[list[int]]:
    """Return the most probable continuation of each prompt, token by token.

    Args:
        model: the model.
        prompts: token ids of each prompt, at least one.
        new_tokens: maximum number of tokens of a continuation.
        after_end: whether to continue after a text has ended, as the scripts of Li et al. do. If not, the end token is
            the last one.
    """
    ends = torch.tensor(end_tokens(model), device=model.network.device)
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    continuations: list[list[int]] = [[] for _ in prompts]
    for begin in range(0, len(order), ROWS):
        places = order[begin : begin + ROWS]
        batch = _continue(model.network, [prompts[p] for p in places], model.codec.pad, new_tokens, ends, after_end)
        for place, ids in zip(places, batch, strict=True):
            end = next((at for at, token in enumerate(ids) if token in set(ends.tolist())), len(ids))
            continuations[place] = ids if after_end else ids[: end + 1]
    return continuations


@torch.inference_mode()
def _continue(
    network: Any, prompts: list[list[int]], pad: int, new_tokens: int, ends: torch.Tensor, after_end: bool
) -> list[list[int]]:
    """Return ``new_tokens`` tokens for each prompt, or fewer if all texts end earlier."""
    ids_BT, mask_BT = padded_rows(prompts, pad, str(network.device), side="left")
    positions_BT = (mask_BT.cumsum(-1) - 1).clamp(min=0)
    ended_B = torch.zeros(len(prompts), dtype=torch.bool, device=ids_BT.device)
    cache, tokens = None, list[torch.Tensor]()
    for _ in range(new_tokens):
        out = network(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            position_ids=positions_BT,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        token_B = out.logits[:, -1].argmax(-1)
        tokens.append(token_B)
        ended_B |= torch.isin(token_B, ends)
        if not after_end and ended_B.all():
            break
        cache = out.past_key_values
        ids_BT = token_B[:, None]
        mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(prompts), 1)], dim=1)
        positions_BT = positions_BT[:, -1:] + 1
    return torch.stack(tokens, dim=1).tolist()
