"""Prompts of requests become the tokens of offline generation, or an error that names the field."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from detox_ray.config import LimitsConfig
from detox_ray.models.codec import Codec
from detox_ray.serve.http.errors import RequestError
from detox_ray.serve.workers.prompt_encoder import LONG, PromptEncoder

LOADING = {"revision": None, "trust_remote_code": False}


@pytest.fixture(scope="module")
def codec(toy_world: Path) -> Codec:
    return Codec(str(toy_world / "model"), LOADING)


def of(codec: Codec, limits: LimitsConfig | None = None, **body: Any) -> list[list[int]]:
    return asyncio.run(PromptEncoder(codec, limits or LimitsConfig()).encode_completion(body))


def test_tokens_are_those_of_offline_generation(codec: Codec) -> None:
    texts = ["the king", "その", ""]
    assert of(codec, prompt=texts) == codec.encode(texts, 100).ids
    assert of(codec, prompt="the king") == codec.encode(["the king"], 100).ids


def test_tokens_may_be_given(codec: Codec) -> None:
    assert of(codec, prompt=[5, 6]) == [[5, 6]]
    assert of(codec, prompt=[[5, 6], [7]]) == [[5, 6], [7]]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": [10**7]}, "prompt"),
        ({"prompt": [[3], []]}, "prompt[1]"),
        ({"prompt": "the " * 1000}, "prompt"),
        ({"prompt": ["a", "the " * 1000]}, "prompt[1]"),
        ({"prompt": "the " * LONG}, "prompt"),
        ({"prompt": "the", "max_tokens": 512}, "max_tokens"),
    ],
    ids=["no prompt", "unknown token", "no token", "long", "second long", "very long", "no room"],
)
def test_refused_by_name(codec: Codec, body: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as refused:
        of(codec, **body)
    assert (refused.value.status_code, refused.value.param) == (400, param)


def test_context_is_used_to_the_last_token_and_the_limit_holds(codec: Codec) -> None:
    whole = [3] * (codec.context - 10)
    assert of(codec, prompt=whole, max_tokens=10) == [whole]
    limits = LimitsConfig(prompt_tokens=5)
    assert of(codec, limits, prompt=[3] * 5) == [[3] * 5]
    with pytest.raises(RequestError, match="at most 5 tokens"):
        of(codec, limits, prompt=[3] * 6)
