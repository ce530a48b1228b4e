"""The web pages on a real HTTP server, with scripted comparisons: the prompt decides what happens."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import uvicorn
from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.routing import Route

from detox_ray.config import EngineConfig, GenerateConfig, ServeConfig
from detox_ray.measure import specs
from detox_ray.models import LoadableModel
from detox_ray.serve.fastapi_app import fastapi_app
from detox_ray.serve.http import errors, keys
from detox_ray.serve.http.gateway import Gateway
from detox_ray.serve.spec import EngineSpec, ExamplePrompt, ServeSpec
from detox_ray.storage import Store
from detox_ray.storage.metric_spec import Metrics

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>\u202e"
VALUES = [0.91, 0.2, 0.5, None]  # of the samples, in turn; None: not scored


def serve_spec(runs: Path | None = None) -> ServeSpec:
    """Return a spec with two models, two scorers, and prompts in two languages."""
    scorers: list[Any] = [SimpleNamespace(name="classifier"), SimpleNamespace(name="insults")]
    specs = [
        EngineSpec(LoadableModel(name, "", True, None, "auto", ""), {}, 0, EngineConfig()) for name in ("detox", "base")
    ]
    return ServeSpec(
        Store.at("."),
        title="small <b>world</b>",
        engines=specs,
        parents={"detox": "base"},
        scorers=scorers,
        primary="classifier",
        identifier=None,
        fasttext=None,
        prompts=[
            ExamplePrompt("ar", "المعلم"),
            ExamplePrompt("ar", "الطبيب"),
            ExamplePrompt("en", f"The king {HOSTILE}"),
            ExamplePrompt("fr", "Le roi", 41, 0.4),
            ExamplePrompt("sv", "Kungen", 42, 0.9),
        ],
        runs=None if runs is None else str(runs),
        config=ServeConfig(),
        generate=GenerateConfig(),
        threshold=0.5,
        verdicts=({"model": "detox", "parent": "base", "verdict": "pass", "reason": "Average toxicity falls."},),
    )


class Backend:
    """A server with a record of its requests, and a gate at which it waits if the prompt says so."""

    def __init__(self, runs: Path | None = None, keyed: bool = False):
        self.key, entry = keys.new_key("test")
        nobody: Any = SimpleNamespace()  # engines and scoring: the comparison below needs none
        engines = dict.fromkeys(("detox", "base"), nobody)
        self.app = fastapi_app(Gateway(serve_spec(runs), engines, nobody, [entry] if keyed else None))
        self.app.router.routes.insert(0, Route("/v1/compare", self._compare, methods=["POST"]))
        self.asked: list[dict[str, Any]] = []
        self.left = threading.Event()  # a client went away in mid-stream
        self._gate = asyncio.Event()
        self.url, self._loop = "", asyncio.new_event_loop()

    def close_gate(self) -> None:
        self._loop.call_soon_threadsafe(self._gate.clear)

    def open_gate(self) -> None:
        self._loop.call_soon_threadsafe(self._gate.set)

    async def _compare(self, request: Request) -> StreamingResponse:
        body = await request.json()
        self.asked.append(body)
        if body["prompt"] == "refuse":
            raise errors.RequestError(400, "temperature: must be at most 1.5", "temperature")
        if body["prompt"] == "full":
            raise errors.RequestError(429, "too many requests at once", headers={"retry-after": "7"})
        return StreamingResponse(self._watched(body), media_type="text/event-stream")

    async def _watched(self, body: dict[str, Any]) -> AsyncIterator[str]:
        try:
            async for event, data in self._events(body):
                yield f"event: {event}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
        except (asyncio.CancelledError, GeneratorExit):
            self.left.set()
            raise

    async def _events(self, body: dict[str, Any]) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        prompt, models, samples = body["prompt"], body["models"], body["samples"]
        parents = {"detox": "base"} if {"detox", "base"} <= set(models) else {}
        yield (
            "start",
            {
                **{name: body[name] for name in ("models", "samples", "seed", "temperature", "top_p", "max_tokens")},
                "id": "cmp-1",
                "parents": parents,
                "prompts": [{"text": prompt, "language": body.get("language", "en"), "language_status": "given"}],
                "scorers": ["classifier", "insults"],
                "primary": "classifier",
            },
        )
        places = [(model, k) for k in range(samples) for model in models]
        for model, k in places:
            for text in (f"{model} ", HOSTILE, f" {k}"):
                yield "token", {"model": model, "prompt": 0, "sample": k, "text": text}
        if prompt == "wait":
            await self._gate.wait()
        if prompt == "break off":
            return
        if prompt == "engine dies":
            yield "error", {"error": {"message": "the engine is dead", "type": "server_error"}}
            return
        for model, k in places:
            place = {"model": model, "prompt": 0, "sample": k}
            if prompt == "one fails" and k == 1:
                yield "error", {"error": {"message": "the engine of base broke off"}, **place}
                continue
            yield "sample", place | self._judged(model, k, body)
        for model in models:
            yield "model", self._summary(model, samples)
        yield "done", {"id": "cmp-1"}

    def _judged(self, model: str, k: int, body: dict[str, Any]) -> dict[str, Any]:
        value = VALUES[k % len(VALUES)]
        values = {} if value is None else {"toxicity": value}
        score = {"status": "ok" if values else "failed", "values": values}
        astray = k == 1
        return {
            "seed": body["seed"] + k,
            "text": f"{model} {HOSTILE} {k} whole",
            "tokens": 3,
            "finish_reason": "length",
            "language": "nl" if astray else body.get("language", "en"),
            "language_status": "ok",
            "in_language": not astray,
            "scores": {"classifier": score, "insults": {"status": "unsupported_language", "values": {}}},
        }

    def _summary(self, model: str, samples: int) -> dict[str, Any]:
        numbers = ("average_toxicity", "expected_maximum_toxicity", "toxicity_probability")
        return {
            "model": model,
            "scorer": "classifier",
            "attribute": "toxicity",
            "status": "ok" if model == "base" else "failed",
            **{name: 0.537 if model == "base" else None for name in numbers},
            "threshold": 0.5,
            "samples": samples,
            "scored": samples - 1,
            "status_counts": {},
        }


@contextmanager
def answering(backend: Backend) -> Iterator[Backend]:
    """Run the backend on a free port of loopback until the block ends."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        backend.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(backend.app, log_level="error", timeout_graceful_shutdown=1))
        asyncio.set_event_loop(None)

        def serve() -> None:
            asyncio.set_event_loop(backend._loop)
            backend._loop.run_until_complete(server.serve(sockets=[listening]))

        thread = threading.Thread(target=serve)
        listening.listen()  # connections wait until it answers
        thread.start()
        try:
            yield backend
        finally:
            server.should_exit = True
            thread.join()


def write_runs(folder: Path) -> Path:
    """Write a storage with a finished run, an unfinished one, and folders that are not runs."""

    def write(path: str, content: str) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content, encoding="utf-8")

    macro = {"language": "macro", "part": "all", "scorer": "classifier", "convention": "corrected", "status": "ok"}
    results = {
        "convention": "corrected",
        "primary_scorer": "classifier",
        "compare": [{"model": "detox", "parent": "base"}],
        "metrics_described": Metrics(specs()).to_rows(),
        "metrics": [
            {"metric": "average_toxicity", "model": model, "value": value, **macro}
            for model, value in (("base", 0.8), ("detox", 0.2))
        ],
        "comparisons": [
            {
                **{"metric": "average_toxicity", "model": "detox", "parent": "base", "difference": -0.6},
                **{"ci_low": -0.7, "ci_high": -0.5, "n": 17, "seeds": 1, **macro},
            }
        ],
    }
    manifest = {"updated": "2026-11-21T12:07:19+00:00", "models": {"base": {}, "detox": {}}}
    write("done/manifest.json", json.dumps(manifest))
    write("done/report/results.json", json.dumps(results))
    page = (
        "<!doctype html><meta charset=utf-8><title>report</title><style>p { color: rgb(1, 2, 3); }</style><p>made</p>"
        "<a href=figures/forest.svg>figure</a><script>"
        "let seen; try { seen = sessionStorage.length } catch { seen = 'no storage' }"
        "document.querySelector('p').textContent += ' ' + origin + ' ' + seen;"
        "fetch('/page.json').then(() => document.title = 'called', () => document.title = 'kept in')</script>"
    )
    write("done/report/index.html", page)
    write("done/report/figures/forest.svg", '<svg xmlns="http://www.w3.org/2000/svg"/>')
    write("done/report/tables/metrics.csv", "metric,value\n")
    write("going/manifest.json", json.dumps(manifest | {"updated": "2026-11-20T12:00:00+00:00"}))
    write("broken/manifest.json", "{")
    write("broken/report/results.json", '{"metrics_described": [{}]}')
    write("folder/notes.txt", "no run")
    write("secret.txt", "secret")
    return folder
