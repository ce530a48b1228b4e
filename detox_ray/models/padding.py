"""Pad batches of texts in such a way that each text gets the same score as it would alone.

The attention mask hides padding from a model, but not from its classification head: a decoder's head reads the last
token that is not ``config.pad_token_id``, and that of an encoder-decoder the last ``eos_token_id``. Neither depends on
the tokenizer's padding token. So rows are padded with the *model's* padding token. If its config names none, or one
without a vector, the model gets a new padding token, with an id above all that a tokenizer can produce.

A few families mix padding into the text despite the mask (`Family.padded` is false). For these, and for models whose
padding token would end a text like eos, a batch has only rows of the same length, without padding.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from detox_ray.config import InputError
from detox_ray.models.families import family_of

if TYPE_CHECKING:
    import torch


class Padding(NamedTuple):
    """The padding of a model's rows."""

    token: int | None  # id of the padding token; None: rows must not be padded
    vocabulary: int | None  # ids from this one on have no vector; None: every id has one


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
        except (NotImplementedError, TypeError):  # I-BERT cannot resize its quantised vectors
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
    """Raise InputError if models of this type need more than the tokens of a text."""
    if not family_of(model_type).text_only:
        raise InputError(f"a {model_type} model takes more than the tokens of a text: it cannot be a scorer")


def padded_rows(
    rows: Sequence[Sequence[int]], token: int, device: str = "cpu", side: Literal["left", "right"] = "right"
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Pad rows of token ids to the longest. Return the ids (B, T) and their attention mask (B, T)."""
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
