"""The routes for operators: liveness, readiness and metrics."""

import asyncio
from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from detox_ray.serve.http import metrics
from detox_ray.serve.http.gateway import Gateway

ANSWER_S = 5.0  # a deployment that takes longer to answer is not ready


class Readiness(BaseModel):
    """The readiness of the service, with the deployments that it is still waiting for."""

    status: Literal["ready", "waiting", "stopping"]
    waiting_for: list[str] = []


def routes(gateway: Gateway) -> APIRouter:
    """Return the routes /healthz, /readyz and /metrics."""
    router = APIRouter(tags=["operations"])
    engines = {spec.model.name: gateway.engines[spec.model.name] for spec in gateway.spec.engines}

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Answer 200 as long as the process can answer."""
        return {"status": "ok"}

    @router.get("/readyz", responses={503: {"model": Readiness, "description": "Not ready, or stopping"}})
    async def readyz(response: Response) -> Readiness:
        """Answer 200 if every engine and the scorers answer and the service is not stopping, otherwise 503."""
        if gateway.limiter.draining:
            response.status_code = 503
            return Readiness(status="stopping")
        calls = {f"engine {name}": engine.cards.remote() for name, engine in engines.items()}
        calls["scoring"] = gateway.scoring.detect.remote("")
        answered = await asyncio.gather(*map(_answers, calls.values()))
        waiting = [name for name, ready in zip(calls, answered, strict=True) if not ready]
        response.status_code = 503 if waiting else 200
        return Readiness(status="waiting" if waiting else "ready", waiting_for=waiting)

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def prometheus() -> Response:
        """Return the metrics of this process, and the replicas and unfinished requests of each engine."""
        await asyncio.gather(*(_measure_engine(gateway, name, engine) for name, engine in engines.items()))
        return Response(gateway.metrics.text(), media_type=metrics.CONTENT_TYPE)

    return router


async def _answers(response: Any) -> bool:
    try:
        await asyncio.wait_for(response, ANSWER_S)
    except Exception:
        return False
    return True


async def _measure_engine(gateway: Gateway, name: str, engine: Any) -> None:
    """Update an engine's gauges, or remove them if it does not answer, because its last values would be outdated."""
    try:
        requests_by_replica = await engine.broadcast("unfinished_requests", name).results_async(timeout_s=ANSWER_S)
    except Exception:
        gateway.metrics.queue.remove(name)
        gateway.metrics.replicas.remove(name)
    else:
        gateway.metrics.replicas.labels(name).set(len(requests_by_replica))
        gateway.metrics.queue.labels(name).set(sum(requests_by_replica))
