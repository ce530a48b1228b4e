"""What those who run the service ask it: is it alive, is it ready, how is it doing."""

import asyncio
from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from detox_ray.serve.http import metrics
from detox_ray.serve.http.gateway import Gateway

ANSWER_S = 5.0  # a part that takes longer is not ready


class Readiness(BaseModel):
    """ "ready", "waiting" for the parts named, or "stopping"."""

    status: Literal["ready", "waiting", "stopping"]
    waiting_for: list[str] = []


def routes(gateway: Gateway) -> APIRouter:
    """/healthz, /readyz, /metrics."""
    router = APIRouter(tags=["operations"])
    engines = {spec.model.name: gateway.engines[spec.model.name] for spec in gateway.served.engines}

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """200 while the process can answer."""
        return {"status": "ok"}

    @router.get("/readyz", responses={503: {"model": Readiness, "description": "Not ready, or stopping"}})
    async def readyz(response: Response) -> Readiness:
        """200 when every engine and the scorers answer, and the service is not about to stop."""
        if gateway.admission.draining:
            response.status_code = 503
            return Readiness(status="stopping")
        asked = {f"engine {name}": engine.cards.remote() for name, engine in engines.items()}
        asked["scoring"] = gateway.scoring.detect.remote("")
        answered = await asyncio.gather(*map(_answers, asked.values()))
        waiting = [part for part, answers in zip(asked, answered, strict=True) if not answers]
        response.status_code = 503 if waiting else 200
        return Readiness(status="waiting" if waiting else "ready", waiting_for=waiting)

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def prometheus() -> Response:
        """Of this process, and of each engine its replicas and how many requests they have in hand now."""
        await asyncio.gather(*(_engine(gateway, name, engine) for name, engine in engines.items()))
        return Response(gateway.metrics.text(), media_type=metrics.CONTENT_TYPE)

    return router


async def _answers(response: Any) -> bool:
    try:
        await asyncio.wait_for(response, ANSWER_S)
    except Exception:
        return False
    return True


async def _engine(gateway: Gateway, name: str, engine: Any) -> None:
    """Leaves out an engine that does not answer: an old number would be a wrong one."""
    try:
        running = await engine.broadcast("running").results_async(timeout_s=ANSWER_S)
    except Exception:
        gateway.metrics.queue.remove(name)
        gateway.metrics.replicas.remove(name)
    else:
        gateway.metrics.replicas.labels(name).set(len(running))
        gateway.metrics.queue.labels(name).set(sum(running))
