"""Load starts a second engine, and the answers do not show that there are two."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from service import serving

pytestmark = [pytest.mark.integration, pytest.mark.slow]

CLIENTS, ENOUGH = 6, 50_000
SCALED = ("models=[base]", "scorers=[]", "engine.max_replicas=2", "engine.target_ongoing=1", "engine.cpus=0.5")
ASKED = {"model": "base", "prompt": "the king", "max_tokens": 40, "temperature": 1.0, "seed": 3}


def replicas(client: httpx.Client) -> int:
    (value,) = re.findall(
        r'^detox_ray_engine_replicas\{engine="base"\} (\d)', client.get("/metrics").text, re.MULTILINE
    )
    return int(value)


def test_load_starts_a_second_engine_whose_answers_are_the_firsts(run: str, tmp_path: Path) -> None:
    with serving(run, tmp_path / "log", *SCALED) as service, httpx.Client(base_url=service.url, timeout=60) as client:

        def ask(_: int) -> tuple[int, str]:
            answer = client.post("/v1/completions", json=ASKED)
            return answer.status_code, answer.json()["choices"][0]["text"]

        assert replicas(client) == 1
        answers, asked = {ask(0)}, 0
        with ThreadPoolExecutor(CLIENTS) as pool:
            while (engines := replicas(client)) == 1 and asked < ENOUGH:
                answers |= set(pool.map(ask, range(100)))
                asked += 100
            answers |= set(pool.map(ask, range(500)))
        assert engines == 2, "the load did not bring a second engine"
        assert len(answers) == 1 and next(iter(answers))[0] == 200
