"""How many tokens of a text a classifier reads, whatever its config calls or forgets."""

from types import SimpleNamespace
from typing import Any

import pytest

from detox_ray.score.classifier_scorer import max_tokens


def config(model_type: str, pad_token_id: int | None = 1, **settings: Any) -> Any:
    made = SimpleNamespace(model_type=model_type, pad_token_id=pad_token_id, **settings)
    made.get_text_config = lambda: made
    return made


@pytest.mark.parametrize(
    ("settings", "of_tokenizer", "limit"),
    [
        ({"max_position_embeddings": -1}, 128, 128),
        ({"max_position_embeddings": -1}, int(1e30), 512),
        ({"max_position_embeddings": 0}, 128, 128),
        ({"max_position_embeddings": None}, int(1e30), 512),
        ({}, 1e30, 512),
        ({}, 0, 512),
        ({}, None, 512),
        ({"max_position_embeddings": 10**12}, -1, 512),
        ({"max_position_embeddings": 100}, 128, 100),
        ({"max_encoder_position_embeddings": 96, "max_decoder_position_embeddings": 64}, 128, 64),
        ({"max_seq_len": 80}, int(1e30), 80),
    ],
)
def test_limit_is_the_least_that_is_one(settings: dict[str, Any], of_tokenizer: Any, limit: int) -> None:
    assert max_tokens(config("xlnet", **settings), SimpleNamespace(model_max_length=of_tokenizer)) == limit


@pytest.mark.parametrize("model_type", ["roberta", "xlm-roberta", "camembert", "mpnet", "longformer"])
def test_positions_that_begin_after_padding_are_fewer(model_type: str) -> None:
    tokenizer = SimpleNamespace(model_max_length=int(1e30))
    assert max_tokens(config(model_type, max_position_embeddings=130), tokenizer) == 128
    assert max_tokens(config(model_type, None, max_position_embeddings=130), tokenizer) == 128
    assert max_tokens(config(model_type, max_position_embeddings=514), tokenizer) == 512
