"""The OpenAI-compatible routes: a checked request goes to vLLM's own serving, and what that says goes to the client."""

from typing import Any

from fastapi import APIRouter, Request, Response

from detox_ray.serve.gateway import Gateway
from detox_ray.serve.protocol import JsonRoute


def routes(gateway: Gateway) -> APIRouter:
    """/v1/models, /v1/completions, /v1/chat/completions."""
    router = APIRouter(prefix="/v1", tags=["OpenAI"], route_class=JsonRoute)

    @router.post("/completions")
    async def completions(request: Request) -> Response:
        body: dict[str, Any] = await request.json()
        answer = await gateway.engine(body["model"]).answer.remote("completions", body, "x")
        return Response(answer.body, answer.status, media_type="application/json")

    return router
