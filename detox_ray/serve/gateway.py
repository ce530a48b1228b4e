"""HTTP: the routes of the service. What they do lives beside it."""

from typing import Any

from ray.serve.handle import DeploymentHandle

from detox_ray.serve.served import Served


class Gateway:
    """The ingress deployment."""

    def __init__(self, served: Served, engines: dict[str, DeploymentHandle], scoring: DeploymentHandle):
        self._served, self._engines, self._scoring = served, engines, scoring

    def __serve_build_asgi_app__(self) -> Any:
        from fastapi import FastAPI, Request
        from fastapi.responses import JSONResponse, Response

        app = FastAPI(title="detox_ray")

        @app.get("/healthz")
        async def healthz() -> dict[str, str]:
            return {"status": "ok"}

        @app.post("/v1/completions")
        async def completions(request: Request) -> Response:
            body = await request.json()
            engine = self._engines.get(body["model"])
            if engine is None:
                return JSONResponse({"error": {"message": "unknown model"}}, 404)
            answer = await engine.answer.remote("completions", body, "x")
            return Response(answer.body, answer.status, media_type="application/json")

        return app
