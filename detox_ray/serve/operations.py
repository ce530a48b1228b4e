"""What those who run the service ask it: is it alive, is it ready."""

from fastapi import APIRouter

from detox_ray.serve.gateway import Gateway


def routes(gateway: Gateway) -> APIRouter:
    """/healthz."""
    router = APIRouter(tags=["operations"])

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    return router
