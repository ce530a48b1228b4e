"""The OpenAI-compatible routes: a checked request goes to vLLM's own serving, and what that says goes to the client.

Answers are not parsed again: bytes and events pass through as vLLM wrote them.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from detox_ray.serve.http.errors import ErrorBody
from detox_ray.serve.http.gateway import Gateway
from detox_ray.serve.http.request_log import note, request_id
from detox_ray.serve.openai.requests import Chat, Completion, Generation, JsonRoute
from detox_ray.serve.workers.engine import Answer, Card, Kind, Usage

_MISSING: dict[int | str, dict[str, Any]] = {404: {"model": ErrorBody, "description": "The model is not served"}}
_ANSWERS: dict[int | str, dict[str, Any]] = _MISSING | {
    200: {
        "description": "OpenAI's object; with `stream`, server-sent events",
        "content": {"application/json": {"schema": {"type": "object"}}, "text/event-stream": {}},
    },
}


class Model(BaseModel):
    """A model that is served. Fields beyond OpenAI's: context, chat, parent, engine."""

    id: str
    object: str = "model"
    created: int
    owned_by: str = "detox_ray"
    parent: str | None  # the model that it was tuned from
    context: int  # tokens of prompt and answer at most
    chat: bool  # whether /v1/chat/completions takes it
    engine: str  # the model whose engine serves it


class Models(BaseModel):
    """All of them."""

    object: str = "list"
    data: list[Model]


def routes(gateway: Gateway) -> APIRouter:
    """/v1/models, /v1/completions, /v1/chat/completions."""
    router = APIRouter(prefix="/v1", tags=["OpenAI"], route_class=JsonRoute)
    limits = gateway.served.config.limits
    begun = int(time.time())
    cards: dict[str, Card] = {}  # they do not change while the service runs

    async def card(name: str) -> Card:
        if name not in cards:
            cards.update({card.name: card for card in await gateway.engine(name).cards.remote()})
        return cards[name]

    async def model(name: str) -> Model:
        _, context, chat, engine = await card(name)
        parent = gateway.served.parents.get(name)
        return Model(id=name, created=begun, parent=parent, context=context, chat=chat, engine=engine)

    @router.get("/models")
    async def models() -> Models:
        return Models(data=list(await asyncio.gather(*map(model, gateway.engines))))

    @router.get("/models/{name}", responses=_MISSING)
    async def one_model(name: str) -> Model:
        return await model(name)

    async def generate(kind: Kind, body: Generation, request: Request) -> Response:
        engine = gateway.engine(body.model)
        body.within(limits)
        forward = body.forward()
        note(request, model=body.model, stream=body.stream, prompt=forward.get("prompt", forward.get("messages")))
        if body.stream:
            groups = engine.stream.options(stream=True).remote(kind, forward, request_id(request))
            return await _events(gateway, body.model, request, groups)
        answer: Answer = await gateway.ask(engine.answer, kind, forward, request_id(request))
        _count(gateway, body.model, request, answer.prompt_tokens, answer.completion_tokens)
        note(request, completion=answer.body)
        return _plain(answer)

    @router.post("/completions", responses=_ANSWERS)
    async def completions(body: Completion, request: Request) -> Response:
        return await generate("completions", body, request)

    @router.post("/chat/completions", responses=_ANSWERS)
    async def chat_completions(body: Chat, request: Request) -> Response:
        return await generate("chat", body, request)

    return router


async def _events(gateway: Gateway, model: str, request: Request, groups: Any) -> Response:
    """Server-sent events; or, where the engine refuses, its plain answer."""
    try:
        first = await anext(groups)
    except BaseException:  # cancelled as well
        groups.cancel()
        raise
    if isinstance(first[0], Answer):
        return _plain(first[0])

    async def events() -> AsyncGenerator[str, None]:
        said: list[str] = []

        def text(group: list[str | Usage]) -> str:
            for item in group:
                if isinstance(item, Usage):
                    _count(gateway, model, request, item.prompt_tokens, item.completion_tokens)
            said.append("".join(item for item in group if isinstance(item, str)))
            return said[-1]

        try:
            yield text(first)
            async for group in groups:
                yield text(group)
            note(request, completion="".join(said))
        finally:
            groups.cancel()  # of a client that went away: its slot in the engine is free again

    return StreamingResponse(events(), media_type="text/event-stream", headers={"x-accel-buffering": "no"})


def _plain(answer: Answer) -> Response:
    return Response(answer.body, answer.status, media_type="application/json")


def _count(gateway: Gateway, model: str, request: Request, prompt: int, completion: int) -> None:
    gateway.metrics.used(model, prompt, completion)
    note(request, prompt_tokens=prompt, completion_tokens=completion)
