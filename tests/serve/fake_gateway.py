"""A gateway over fakes: its whole ASGI application, without Ray, vLLM or a scorer."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from detox_ray.config import EngineConfig, ServeConfig
from detox_ray.models import LoadableModel
from detox_ray.serve.fastapi_app import fastapi_app
from detox_ray.serve.http.gateway import Gateway
from detox_ray.serve.http.keys import HashedKey
from detox_ray.serve.spec import EngineSpec, ServeSpec
from detox_ray.serve.workers.engine import Answer, ModelCard, Usage
from detox_ray.serve.workers.stream_batches import StreamBatches
from detox_ray.storage import Store


class Reply:
    """The answer of a deployment's method: awaited, or iterated over."""

    def __init__(self, make: Callable[[], Any]):
        self._make, self._items, self.cancelled = make, None, False

    def __await__(self) -> Any:
        return self._make().__await__()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        if self._items is None:
            self._items = self._make()
        return await anext(self._items)

    def cancel(self) -> None:
        self.cancelled = True

    async def results_async(self, timeout_s: float) -> list[Any]:
        return [await self]


class Method:
    """A method of a deployment's handle."""

    def __init__(self, function: Callable[..., Any]):
        self._function, self.replies = function, []

    def options(self, stream: bool) -> "Method":
        return self

    def remote(self, *arguments: Any) -> Reply:
        self.replies.append(Reply(lambda: self._function(*arguments)))
        return self.replies[-1]


class FakeEngine:
    """An engine that answers once ``go`` is set, and raises the ``deaths`` first."""

    def __init__(self, name: str):
        self.name, self.asked = name, []
        self.go = asyncio.Event()
        self.go.set()
        self.deaths: list[Exception] = []
        self.answer, self.cards = Method(self._answer), Method(self._cards)
        self.stream = Method(lambda *asked: StreamBatches().cut(self._stream(*asked)))

    def broadcast(self, method: str, model: str) -> Reply:
        return Reply(self._running)

    async def _answer(self, kind: str, body: dict[str, Any], request_id: str) -> Answer:
        self.asked.append((kind, body, request_id))
        if self.deaths:
            raise self.deaths.pop()
        await self.go.wait()
        return Answer(200, '{"choices": []}', 3, 5)

    async def _stream(
        self, kind: str, body: dict[str, Any], request_id: str
    ) -> AsyncGenerator[str | Usage | Answer, None]:
        self.asked.append((kind, body, request_id))
        if body["model"] == "refuses":
            yield Answer(400, '{"error": {"message": "no"}}')
            return
        yield "data: 1\n\n"
        if self.deaths:
            raise self.deaths.pop()
        await self.go.wait()
        yield "data: [DONE]\n\n"
        yield Usage(3, 5)

    async def _cards(self) -> list[ModelCard]:
        await self.go.wait()
        return [ModelCard(self.name, 128, False, self.name)]

    async def _running(self) -> int:
        return 7


class FakeScoring:
    def __init__(self) -> None:
        self.detect = Method(self._detect)

    async def _detect(self, text: str) -> None:
        return None


def gateway(
    folder: Path, names: Sequence[str] = ("base",), keys: Sequence[HashedKey] | None = None, **config: Any
) -> Gateway:
    """Return a gateway whose engines and scoring are fakes, which tests reach through its attributes."""
    specs = [EngineSpec(LoadableModel(name, "", True, None, "auto", ""), {}, 0, EngineConfig()) for name in names]
    spec = ServeSpec(
        Store.at(str(folder)),
        title="small",
        engines=specs,
        parents={},
        scorers=[],
        primary=None,
        identifier=None,
        fasttext=None,
        prompts=[],
        runs=None,
        config=ServeConfig.model_validate(config),
    )
    engines: Any = {name: FakeEngine(name) for name in names}
    scoring: Any = FakeScoring()
    return Gateway(spec, engines, scoring, keys)


def client(made: Gateway) -> httpx.AsyncClient:
    return client_of(fastapi_app(made))


def client_of(app: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")
