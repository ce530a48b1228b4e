"""The service as a whole: it starts and answers as each of its models."""

import httpx
import pytest
from service import Service

pytestmark = pytest.mark.integration


def test_each_model_answers_and_no_two_alike(service: Service) -> None:
    """The models are so unsure that samples of the same seed may agree; their log-probabilities cannot."""
    said = set()
    for model in ("base", "lora", "full"):
        body = {"model": model, "prompt": "the king", "max_tokens": 1, "temperature": 0, "logprobs": 1}
        answer = httpx.post(f"{service.url}/v1/completions", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        said.add(round(answer.json()["choices"][0]["logprobs"]["token_logprobs"][0], 3))
    assert len(said) == 3, said
