"""How many tokens of a text a classifier reads."""

from typing import Any

MAX_TOKENS = 512
# What configs call it. Not every family has one, and some write -1 for none.
_NAMES = (
    "max_position_embeddings",
    "max_encoder_position_embeddings",
    "max_decoder_position_embeddings",
    "max_seq_len",
)
# Their positions begin after the padding index: of 514, 512 are of use.
_OFFSET = frozenset(
    {"camembert", "data2vec-text", "esm", "ibert", "longformer", "luke", "mpnet", "roberta", "roberta-prelayernorm"}
    | {"xlm-roberta", "xlm-roberta-xl", "xmod"}
)


def max_tokens(config: Any, tokenizer: Any) -> int:
    """Tokens of a text that the model reads: the config's limit, the tokenizer's and `MAX_TOKENS`, the least of them.

    A limit that is missing or not positive is none.
    """
    text = config.get_text_config()
    limits = [getattr(text, name, None) for name in _NAMES]
    if config.model_type in _OFFSET:
        padding = 1 if text.pad_token_id is None else text.pad_token_id
        limits = [limit - padding - 1 if isinstance(limit, int) else None for limit in limits]
    limits.append(tokenizer.model_max_length)
    return min([MAX_TOKENS, *(int(limit) for limit in limits if isinstance(limit, int | float) and limit > 0)])
