"""The metrics that Prometheus reads."""

import asyncio
from pathlib import Path
from typing import Any

from fake_gateway import client, gateway
from prometheus_client.parser import text_string_to_metric_families

ASK = {"model": "base", "prompt": "x"}


def test_metrics_count_what_happened(tmp_path: Path) -> None:
    async def go() -> str:
        made = gateway(tmp_path)
        made.metrics.count_scores("classifier", ["ok", "failed", "empty"])
        async with client(made) as http:
            await http.post("/v1/completions", json=ASK)
            await http.post("/v1/completions", json={**ASK, "stream": True})
            await http.post("/v1/completions", json={})
            await http.get("/made-up-1")
            await http.get("/made-up-2")
            return (await http.get("/metrics")).text

    found: dict[tuple[str, tuple[str, ...]], float] = {}
    for family in text_string_to_metric_families(asyncio.run(go())):
        for sample in family.samples:
            found[sample.name, tuple(value for _, value in sorted(sample.labels.items()))] = sample.value
    route = "/v1/completions"
    expected: dict[Any, float] = {
        ("detox_ray_requests_total", ("POST", route, "200")): 2,
        ("detox_ray_requests_total", ("POST", route, "400")): 1,
        ("detox_ray_requests_total", ("any", "other", "404")): 2,  # no label for what a client makes up
        ("detox_ray_request_seconds_count", (route,)): 3,
        ("detox_ray_first_token_seconds_count", (route,)): 1,
        ("detox_ray_tokens_total", ("base", "prompt")): 6,
        ("detox_ray_tokens_total", ("base", "completion")): 10,
        ("detox_ray_in_flight", ()): 0,
        ("detox_ray_engine_queue", ("base",)): 7,
        ("detox_ray_engine_replicas", ("base",)): 1,
        ("detox_ray_scorer_failures_total", ("classifier",)): 1,
        ("detox_ray_scored_total", ("classifier", "empty")): 1,
    }
    assert {key: found.get(key) for key in expected} == expected
