"""Find out how many tokens of a text a classifier reads."""

from typing import Any

from detox_ray.models.families import family_of

MAX_TOKENS = 512
# Names of the limit in configs. Not every family has one, and some write -1 for "no limit".
_NAMES = (
    "max_position_embeddings",
    "max_encoder_position_embeddings",
    "max_decoder_position_embeddings",
    "max_seq_len",
)


def max_tokens(config: Any, tokenizer: Any) -> int:
    """Return how many tokens the model reads: the least of the config's limit, the tokenizer's, and `MAX_TOKENS`.

    Limits that are missing or not positive are ignored.
    """
    text = config.get_text_config()
    limits = [getattr(text, name, None) for name in _NAMES]
    if family_of(config.model_type).positions_follow_padding:
        padding = 1 if text.pad_token_id is None else text.pad_token_id
        limits = [limit - padding - 1 if isinstance(limit, int) else None for limit in limits]
    limits.append(tokenizer.model_max_length)
    return min([MAX_TOKENS, *(int(limit) for limit in limits if isinstance(limit, int | float) and limit > 0)])
