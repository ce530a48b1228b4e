"""The service as a whole: it starts, and answers as each of its models."""

import httpx
import pytest
from service import Service

pytestmark = pytest.mark.integration


def test_each_model_answers_and_no_two_alike(service: Service) -> None:
    said = []
    for model in ("base", "lora", "full"):
        body = {"model": model, "prompt": "the king", "max_tokens": 16, "n": 8, "seed": 0}
        answer = httpx.post(f"{service.url}/v1/completions", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        said.append(tuple(choice["text"] for choice in answer.json()["choices"]))
    assert len(set(said)) == 3, said
