"""Requests in flight are limited per key and in all."""

import asyncio
from pathlib import Path
from typing import Any

from fake_gateway import client, gateway

from detox_ray.serve.http import keys

ALICE, BOB = keys.new_key("alice"), keys.new_key("bob")
ASK = {"model": "base", "prompt": "x"}


def test_too_many_in_flight_are_told_to_come_again(tmp_path: Path) -> None:
    async def go() -> None:
        made = gateway(tmp_path, keys=[ALICE[1], BOB[1]], limits={"in_flight": 2, "in_flight_total": 3})
        engine: Any = made.engines["base"]
        engine.go.clear()
        async with client(made) as http:

            def ask(key: str, stream: bool = False) -> asyncio.Task[Any]:
                headers = {"authorization": f"Bearer {key}"}
                body = {**ASK, "stream": stream}
                return asyncio.create_task(http.post("/v1/completions", json=body, headers=headers))

            held = [ask(ALICE[0]), ask(ALICE[0], stream=True)]
            while made.limiter.in_flight < 2:
                await asyncio.sleep(0)
            refused = await ask(ALICE[0])
            assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
            assert refused.json()["error"]["type"] == "rate_limit_error"
            assert "of this key" in refused.json()["error"]["message"]
            held.append(ask(BOB[0]))
            while made.limiter.in_flight < 3:
                await asyncio.sleep(0)
            assert "of all keys" in (await ask(BOB[0])).json()["error"]["message"]
            assert (await http.get("/healthz")).status_code == 200  # the probes answer though all is full
            engine.go.set()
            assert [answer.status_code for answer in await asyncio.gather(*held)] == [200, 200, 200]
            assert (await ask(ALICE[0])).status_code == 200
            assert made.limiter.in_flight == 0

    asyncio.run(go())


def test_failed_and_abandoned_requests_are_not_in_flight(tmp_path: Path) -> None:
    async def go() -> None:
        made = gateway(tmp_path)
        engine: Any = made.engines["base"]
        engine.deaths = [RuntimeError()]
        async with client(made) as http:
            assert (await http.post("/v1/completions", json=ASK)).status_code == 500
            assert (await http.post("/v1/completions", json={})).status_code == 400
            assert made.limiter.in_flight == 0
            engine.go.clear()
            asking = asyncio.create_task(http.post("/v1/completions", json=ASK))
            while not made.limiter.in_flight:
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.wait([asking])
            assert made.limiter.in_flight == 0
            assert engine.answer.replies[-1].cancelled

    asyncio.run(go())
