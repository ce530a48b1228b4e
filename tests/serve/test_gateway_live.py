"""The gateway with its engines: ids, sizes, metrics."""

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from service import Service

pytestmark = pytest.mark.integration

ASK = {"model": "base", "prompt": "the king", "max_tokens": 4}


def metric(url: str, name: str, **labels: str) -> float:
    text = httpx.get(f"{url}/metrics", timeout=30).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


def test_each_answer_has_one_request_id(service: Service) -> None:
    answer = httpx.post(f"{service.url}/v1/completions", json=ASK, headers={"x-request-id": "mine-1"}, timeout=60)
    assert answer.headers.get_list("x-request-id") == ["mine-1"]
    made = httpx.get(f"{service.url}/healthz").headers.get_list("x-request-id")
    assert len(made) == 1 and len(made[0]) >= 16


def test_service_is_ready_and_counts_tokens(service: Service) -> None:
    assert httpx.get(f"{service.url}/readyz", timeout=30).json() == {"status": "ready", "waiting_for": []}
    before = metric(service.url, "detox_ray_tokens_total", model="lora", of="completion")
    for stream in (False, True):
        body = {**ASK, "model": "lora", "n": 2, "stream": stream}
        answer = httpx.post(f"{service.url}/v1/completions", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
    after = metric(service.url, "detox_ray_tokens_total", model="lora", of="completion")
    assert 4 <= after - before <= 16
    assert metric(service.url, "detox_ray_first_token_seconds_count", route="/v1/completions") >= 1


def test_ten_megabytes_are_refused(service: Service) -> None:
    answer = httpx.post(f"{service.url}/v1/completions", json={**ASK, "prompt": "x" * 10_000_000}, timeout=60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


def test_other_names_for_loopback_are_refused(service: Service) -> None:
    assert httpx.get(f"{service.url}/healthz", headers={"host": "evil.example"}).status_code == 400
