"""The gateway's routes and middlewares, over fake engines."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from fake_gateway import FakeEngine, client, gateway
from ray.exceptions import RayActorError

from detox_ray.serve.http.gateway import Gateway

ASK = {"model": "base", "prompt": "the king"}


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


def engine(made: Gateway) -> FakeEngine:
    found: Any = made.engines["base"]
    return found


def test_engine_is_asked_for_what_was_given_and_nothing_else(tmp_path: Path) -> None:
    async def go() -> None:
        made = gateway(tmp_path)
        async with client(made) as http:
            body = {**ASK, "n": 2, "user": "me", "metadata": {"a": "b"}, "stop": None, "stream": False}
            answer = await http.post("/v1/completions", json=body, headers={"x-request-id": "mine"})
            assert (answer.status_code, answer.text) == (200, '{"choices": []}')
            assert engine(made).asked == [("completions", {**ASK, "n": 2, "stream": False}, "mine")]

    run(go())


def test_chat_goes_to_the_engine_as_chat(tmp_path: Path) -> None:
    async def go() -> None:
        made = gateway(tmp_path)
        async with client(made) as http:
            parts = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
            answer = await http.post("/v1/chat/completions", json={"model": "base", "messages": parts})
            assert answer.status_code == 200
            assert engine(made).asked[0][:2] == ("chat", {"model": "base", "messages": parts})

    run(go())


def test_stream_passes_events_on_and_frees_the_engine(tmp_path: Path) -> None:
    async def go() -> None:
        made = gateway(tmp_path)
        async with client(made) as http:
            answer = await http.post("/v1/completions", json={**ASK, "stream": True})
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.text == "data: 1\n\ndata: [DONE]\n\n"
        assert engine(made).stream.replies[0].cancelled  # harmless at its end, needed where the client has gone
        assert made.limiter.in_flight == 0

    run(go())


def test_refusal_of_a_stream_is_a_plain_answer(tmp_path: Path) -> None:
    async def go() -> None:
        made = gateway(tmp_path, ["refuses"])
        async with client(made) as http:
            answer = await http.post("/v1/completions", json={"model": "refuses", "prompt": "a", "stream": True})
            assert (answer.status_code, answer.json()) == (400, {"error": {"message": "no"}})

    run(go())


def test_replica_that_dies_over_a_request_is_retried_once(tmp_path: Path) -> None:
    async def go(deaths: int) -> int:
        made = gateway(tmp_path)
        engine(made).deaths = [RayActorError() for _ in range(deaths)]
        async with client(made) as http:
            answer = await http.post("/v1/completions", json=ASK)
            if deaths == 2:
                assert answer.json()["error"]["code"] == "unavailable"
                assert int(answer.headers["retry-after"]) > 0
            return int(answer.status_code)

    assert run(go(1)) == 200
    assert run(go(2)) == 503


@pytest.mark.parametrize(
    ("error", "code"), [(RayActorError(), "unavailable"), (RuntimeError("hush"), "internal_error")]
)
def test_stream_that_breaks_ends_with_an_error_event(tmp_path: Path, error: Exception, code: str) -> None:
    async def go() -> None:
        made = gateway(tmp_path)
        engine(made).deaths = [error]
        async with client(made) as http:
            answer = await http.post("/v1/completions", json={**ASK, "stream": True})
        assert answer.text.startswith("data: 1\n\nevent: error\ndata: ")
        assert json.loads(answer.text.split("data: ")[-1])["error"]["code"] == code
        assert "hush" not in answer.text

    run(go())


def test_unexpected_failure_is_a_clean_500(tmp_path: Path) -> None:
    async def go() -> None:
        made = gateway(tmp_path)
        engine(made).deaths = [RuntimeError("secret of the house")]
        async with client(made) as http:
            answer = await http.post("/v1/completions", json=ASK)
        assert answer.status_code == 500
        assert answer.json()["error"]["type"] == "server_error"
        assert "secret" not in answer.text

    run(go())


@pytest.mark.parametrize("stream", [False, True])
def test_request_that_takes_too_long_is_given_up(tmp_path: Path, stream: bool) -> None:
    async def go() -> None:
        made = gateway(tmp_path, limits={"timeout_s": 0.05})
        engine(made).go.clear()
        async with client(made) as http:
            answer = await http.post("/v1/completions", json={**ASK, "stream": stream})
        assert answer.status_code == (200 if stream else 504)
        assert "no answer within 0.05 s" in answer.text
        asked = engine(made).stream if stream else engine(made).answer
        assert asked.replies[0].cancelled
        assert made.limiter.in_flight == 0

    run(go())


def test_request_id_is_kept_made_or_refused(tmp_path: Path) -> None:
    async def go() -> None:
        made = gateway(tmp_path)
        async with client(made) as http:
            first, second = [await http.get("/healthz") for _ in range(2)]
            assert len(first.headers["x-request-id"]) == 32
            assert first.headers["x-request-id"] != second.headers["x-request-id"]
            for wrong in ("a b", "x" * 129, ""):
                answer = await http.get("/healthz", headers={"x-request-id": wrong})
                assert (answer.status_code, answer.json()["error"]["param"]) == (400, "x-request-id")

    run(go())


def test_log_holds_a_line_of_json_without_texts_or_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def go(texts: bool) -> dict[str, Any]:
        made = gateway(tmp_path, log_prompts=texts)
        async with client(made) as http:
            headers = {"x-request-id": "r1", "authorization": "Bearer hush"}
            await http.post("/v1/completions?key=hush", json=ASK, headers=headers)
        said = capsys.readouterr().out
        assert "hush" not in said
        line: dict[str, Any] = json.loads(said)
        return line

    line = run(go(False))
    assert line.pop("time").startswith("20") and line.pop("seconds") >= 0
    assert line == {
        "id": "r1",
        "model": "base",
        "stream": False,
        "prompt_tokens": 3,
        "completion_tokens": 5,
        "method": "POST",
        "path": "/v1/completions",
        "status": 200,
    }
    line = run(go(True))
    assert (line["prompt"], line["completion"]) == ("the king", '{"choices": []}')


def test_every_answer_has_the_headers_of_security(tmp_path: Path) -> None:
    async def go() -> None:
        async with client(gateway(tmp_path)) as http:
            for answer in (await http.get("/healthz"), await http.get("/nothing"), await http.post("/v1/completions")):
                assert "default-src 'none'" in answer.headers["content-security-policy"]
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert answer.headers["cache-control"] == "no-store"

    run(go())


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("LOCALHOST", 200),
        ("[::1]:80", 200),
        ("::1", 400),
        ("evil.example", 400),
        ("127.0.0.1.evil:80", 400),
    ],
)
def test_loopback_answers_under_its_own_names_only(tmp_path: Path, host: str, status: int) -> None:
    async def go() -> None:
        async with client(gateway(tmp_path)) as http:
            assert (await http.get("/healthz", headers={"host": host})).status_code == status

    run(go())


def test_other_origins_are_let_in_only_where_configured(tmp_path: Path) -> None:
    ours = "https://ours.example"

    async def go(cors: list[str], origin: str) -> str | None:
        async with client(gateway(tmp_path, cors=cors)) as http:
            asked = {"origin": origin, "access-control-request-method": "POST"}
            answer = await http.options("/v1/completions", headers=asked)
            allowed: str | None = answer.headers.get("access-control-allow-origin")
            return allowed

    assert run(go([], ours)) is None
    assert run(go([ours], "https://evil.example")) is None
    assert run(go([ours], ours)) == ours


def test_readiness_waits_for_every_part_and_ends_with_draining(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("detox_ray.serve.http.operations.ANSWER_S", 0.05)

    async def go() -> None:
        made = gateway(tmp_path, limits={"drain_s": 0.1})
        async with client(made) as http:
            assert (await http.get("/readyz")).json() == {"status": "ready", "waiting_for": []}
            engine(made).go.clear()
            answer = await http.get("/readyz")
            assert (answer.status_code, answer.json()) == (503, {"status": "waiting", "waiting_for": ["engine base"]})
            assert (await http.get("/healthz")).status_code == 200
            asking = asyncio.create_task(http.post("/v1/completions", json=ASK))
            while not made.limiter.in_flight:
                await asyncio.sleep(0)
            assert await made.drain() == 1  # it took too long
            draining = asyncio.create_task(made.drain())
            await asyncio.sleep(0)
            assert (await http.get("/readyz")).json()["status"] == "stopping"
            assert (await http.post("/v1/completions", json=ASK)).status_code == 503
            engine(made).go.set()
            assert (await asking).status_code == 200
            assert await draining == 0

    run(go())


def test_models_are_listed(tmp_path: Path) -> None:
    async def go() -> None:
        async with client(gateway(tmp_path, ["base", "other"])) as http:
            listed = (await http.get("/v1/models")).json()
            assert [model["id"] for model in listed["data"]] == ["base", "other"]
            assert (await http.get("/v1/models/other")).json()["context"] == 128
            assert (await http.get("/v1/models/none")).status_code == 404

    run(go())


def test_openapi_document_says_what_errors_look_like(tmp_path: Path) -> None:
    async def go() -> None:
        async with client(gateway(tmp_path)) as http:
            document = (await http.get("/openapi.json")).json()
        said = document["paths"]["/v1/completions"]["post"]["responses"]
        assert {"200", "400", "401", "404", "413", "415", "429", "500", "503", "504"} <= set(said)
        assert "422" not in said

    run(go())
