"""The OpenAI-compatible routes: they pass checked requests to vLLM's serving, and its answers to clients.

Answers are not parsed again: bytes and events are passed on unchanged.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from detox_ray.serve.http.errors import ErrorBody, Responses
from detox_ray.serve.http.gateway import Gateway
from detox_ray.serve.http.request_log import log_fields, request_id
from detox_ray.serve.http.strict_json import JsonRoute
from detox_ray.serve.openai.requests import ChatRequest, CompletionRequest, GenerationRequest
from detox_ray.serve.workers.engine import Answer, Kind, ModelCard, Usage

_NOT_FOUND: Responses = {404: {"model": ErrorBody, "description": "The model is not served"}}
_RESPONSES: Responses = _NOT_FOUND | {
    200: {
        "description": "OpenAI's object; with `stream`, server-sent events",
        "content": {"application/json": {"schema": {"type": "object"}}, "text/event-stream": {}},
    },
}


class ModelObject(BaseModel):
    """OpenAI's model object, with four more fields: parent, context, chat, engine."""

    id: str
    object: str = "model"
    created: int
    owned_by: str = "detox_ray"
    parent: str | None  # the model that it was tuned from
    context: int  # tokens that prompt and answer may have together
    chat: bool  # whether /v1/chat/completions accepts it
    engine: str  # the model whose engine serves it


class ModelList(BaseModel):
    """OpenAI's list of models."""

    object: str = "list"
    data: list[ModelObject]


def routes(gateway: Gateway) -> APIRouter:
    """Return the routes /v1/models, /v1/completions and /v1/chat/completions."""
    router = APIRouter(prefix="/v1", tags=["OpenAI"], route_class=JsonRoute)
    limits = gateway.spec.config.limits
    created = int(time.time())
    cards: dict[str, ModelCard] = {}  # do not change while the service runs

    async def model_object(name: str) -> ModelObject:
        if name not in cards:
            cards.update({card.name: card for card in await gateway.engine(name).cards.remote()})
        card, parent = cards[name], gateway.spec.parents.get(name)
        return ModelObject(
            id=name, created=created, parent=parent, context=card.context, chat=card.chat, engine=card.engine
        )

    @router.get("/models")
    async def list_models() -> ModelList:
        return ModelList(data=list(await asyncio.gather(*map(model_object, gateway.engines))))

    @router.get("/models/{name}", responses=_NOT_FOUND)
    async def get_model(name: str) -> ModelObject:
        return await model_object(name)

    async def generate(kind: Kind, body: GenerationRequest, request: Request) -> Response:
        engine = gateway.engine(body.model)
        body.check_limits(limits)
        engine_request = body.engine_request()
        prompt = engine_request.get("prompt", engine_request.get("messages"))
        log_fields(request, model=body.model, stream=body.stream, prompt=prompt)
        if body.stream:
            batches = engine.stream.options(stream=True).remote(kind, engine_request, request_id(request))
            return await _stream(gateway, body.model, request, batches)
        answer: Answer = await gateway.ask(engine.answer, kind, engine_request, request_id(request))
        _count_tokens(gateway, body.model, request, answer.prompt_tokens, answer.completion_tokens)
        log_fields(request, completion=answer.body)
        return _response(answer)

    @router.post("/completions", responses=_RESPONSES)
    async def completions(body: CompletionRequest, request: Request) -> Response:
        return await generate("completions", body, request)

    @router.post("/chat/completions", responses=_RESPONSES)
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        return await generate("chat", body, request)

    return router


async def _stream(gateway: Gateway, model: str, request: Request, batches: Any) -> Response:
    """Return the engine's server-sent events, or its plain answer if it rejects the request."""
    try:
        first_batch = await anext(batches)
    except BaseException:  # a cancellation, too
        batches.cancel()
        raise
    if isinstance(first_batch[0], Answer):
        return _response(first_batch[0])

    async def events() -> AsyncGenerator[str, None]:
        sent: list[str] = []

        def text(batch: list[str | Usage]) -> str:
            for item in batch:
                if isinstance(item, Usage):
                    _count_tokens(gateway, model, request, item.prompt_tokens, item.completion_tokens)
            sent.append("".join(item for item in batch if isinstance(item, str)))
            return sent[-1]

        try:
            yield text(first_batch)
            async for batch in batches:
                yield text(batch)
            log_fields(request, completion="".join(sent))
        finally:
            batches.cancel()  # if the client has disconnected, this frees its place in the engine

    return StreamingResponse(events(), media_type="text/event-stream", headers={"x-accel-buffering": "no"})


def _response(answer: Answer) -> Response:
    return Response(answer.body, answer.status, media_type="application/json")


def _count_tokens(gateway: Gateway, model: str, request: Request, prompt: int, completion: int) -> None:
    gateway.metrics.count_tokens(model, prompt, completion)
    log_fields(request, prompt_tokens=prompt, completion_tokens=completion)
