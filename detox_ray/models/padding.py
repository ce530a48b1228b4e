"""How texts of different lengths share a batch, so that each has the score that it has alone.

A model with an attention mask looks at no padding, but its classification head may: that of a decoder reads the last
token which is not ``config.pad_token_id``, that of an encoder-decoder the last one which is ``eos_token_id``. What the
tokenizer calls its padding does not matter to either. So rows are filled with what the *model* takes for padding. If
its config names none, or none that it has a vector for, the model gets a padding token of its own, one above all that a
tokenizer can give. A few models mix padding into the text whatever the mask says: there, and if padding would end a
text as eos does, only rows of one length share a batch, and there is no padding.
"""

from typing import Any, NamedTuple

from detox_ray.config import InputError

# Model types whose scores depend on padding, masked or not: Fourier transforms, convolutions, hashes and landmarks over
# all positions, vectors made of neighbouring tokens, and heads that read the last position.
# tests/score/test_padding.py tries all others.
UNPADDED = frozenset({"convbert", "fnet", "mobilebert", "nystromformer", "t5gemma", "t5gemma2", "xlnet", "yoso"})
# Model types that take more than text (boxes on a page, cells of a table), or something else than tokens.
NOT_TEXT = frozenset({"layoutlm", "layoutlmv2", "layoutlmv3", "lilt", "markuplm", "perceiver", "tapas"})


class Padding(NamedTuple):
    """What a model's rows are padded with."""

    token: int | None  # None: no row may be padded
    vocabulary: int | None  # ids from this on have no vector; None: any id has one


def padding_of(model: Any) -> Padding:
    """The padding of a transformers model. A model without one gets a padding token, in place."""
    config, text = model.config, model.config.get_text_config()
    vocabulary = getattr(text, "vocab_size", None)
    if config.model_type in UNPADDED or vocabulary is None:
        return Padding(None, vocabulary)
    pad = text.pad_token_id
    if not isinstance(pad, int) or not 0 <= pad < vocabulary:
        pad = vocabulary
        try:
            model.resize_token_embeddings(pad + 1, mean_resizing=False)
        except (NotImplementedError, TypeError):  # of I-BERT, whose vectors are quantised
            return Padding(None, vocabulary)
        config.pad_token_id = text.pad_token_id = pad
    end = getattr(text, "eos_token_id", None)
    ends = end if isinstance(end, list) else [end]
    return Padding(None if config.is_encoder_decoder and pad in ends else pad, vocabulary)


def check_text_alone(model_type: str) -> None:
    """Raise InputError for a kind of model that takes more than text, or something else than tokens."""
    if model_type in NOT_TEXT:
        raise InputError(f"a {model_type} model takes more than the tokens of a text: it cannot be a scorer")
