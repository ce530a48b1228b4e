"""Padding: how texts of different lengths share a batch, so that each has the score that it has alone.

A model with an attention mask looks at no padding, but its classification head may: a decoder's head reads the last
token which is not ``config.pad_token_id``, that of an encoder-decoder the last one which is ``eos_token_id``. What the
tokenizer calls its padding does not matter to either. So rows are filled with what the *model* takes for padding. If
its config names no padding token, or one that it has no vector for, the model gets a padding token of its own, with an
id above all that a tokenizer can give. A few families mix padding into the text whatever the mask says (`Family.padded`
is false). With these, and if the padding token would end a text as eos does, only rows of one length share a batch, and
there is no padding.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from detox_ray.config import InputError
from detox_ray.models.families import family_of

if TYPE_CHECKING:
    import torch


class Padding(NamedTuple):
    """What a model's rows are padded with."""

    token: int | None  # None: no row may be padded
    vocabulary: int | None  # ids from this on have no vector; None: any id has one


def padding_of(model: Any) -> Padding:
    """Return the padding of a transformers model. A model without a padding token gets one, in place."""
    config, text = model.config, model.config.get_text_config()
    vocabulary = getattr(text, "vocab_size", None)
    if (
        vocabulary is not None
        and family_of(config.model_type).padded
        and not _has_vector(text.pad_token_id, vocabulary)
    ):
        try:
            model.resize_token_embeddings(vocabulary + 1, mean_resizing=False)
        except (NotImplementedError, TypeError):  # of I-BERT, whose vectors are quantised
            return Padding(None, vocabulary)
        config.pad_token_id = text.pad_token_id = vocabulary
    return fixed_padding(config)._replace(vocabulary=vocabulary)


def fixed_padding(config: Any) -> Padding:
    """Return the padding of a model that has this transformers config and whose vocabulary cannot grow."""
    text = config.get_text_config()
    vocabulary, pad = getattr(text, "vocab_size", None), text.pad_token_id
    if vocabulary is None or not family_of(config.model_type).padded or not _has_vector(pad, vocabulary):
        return Padding(None, vocabulary)
    end = getattr(text, "eos_token_id", None)
    ends = end if isinstance(end, list) else [end]
    return Padding(None if config.is_encoder_decoder and pad in ends else pad, vocabulary)


def _has_vector(token: Any, vocabulary: int) -> bool:
    return isinstance(token, int) and 0 <= token < vocabulary


def check_text_alone(model_type: str) -> None:
    """Raise InputError for a kind of model that takes more than text, or something else than tokens."""
    if not family_of(model_type).text_only:
        raise InputError(f"a {model_type} model takes more than the tokens of a text: it cannot be a scorer")


def padded_rows(
    rows: Sequence[Sequence[int]], token: int, device: str = "cpu", side: Literal["left", "right"] = "right"
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Return some rows of token ids as one tensor (B, T) as long as the longest, and its attention mask (B, T)."""
    import torch

    longest = max(map(len, rows))
    gaps = [longest - len(row) for row in rows]
    if side == "right":
        ids = [[*row, *[token] * gap] for row, gap in zip(rows, gaps, strict=True)]
        mask = [[1] * len(row) + [0] * gap for row, gap in zip(rows, gaps, strict=True)]
    else:
        ids = [[*[token] * gap, *row] for row, gap in zip(rows, gaps, strict=True)]
        mask = [[0] * gap + [1] * len(row) for row, gap in zip(rows, gaps, strict=True)]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
