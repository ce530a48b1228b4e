"""HTTP: the routes of the service and what stands around them. What the routes do lives beside it."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from ray.serve.handle import DeploymentHandle

from detox_ray.serve.http.keys import Entry
from detox_ray.serve.spec import Served


class Gateway:
    """Routers of other files get it and use its public attributes.

    ``proxied``: it is the ingress deployment behind Ray Serve's proxy, rather than in the process that listens.
    """

    def __init__(
        self,
        served: Served,
        engines: Mapping[str, DeploymentHandle],
        scoring: DeploymentHandle,
        keys: Sequence[Entry] | None = None,
        proxied: bool = False,
    ):
        from detox_ray.serve.http.limits import Admission
        from detox_ray.serve.http.metrics import Metrics

        self.served = served
        self.engines = dict(engines)  # by every name that a model is served under
        self.scoring = scoring
        self.keys = keys  # None: no request needs one
        self.proxied = proxied
        self.metrics = Metrics()
        self.admission = Admission(served.config.limits, self.metrics)

    def asgi(self) -> Any:
        """The FastAPI application."""
        from fastapi import FastAPI
        from fastapi.exceptions import RequestValidationError
        from starlette.exceptions import HTTPException
        from starlette.middleware.cors import CORSMiddleware
        from starlette.routing import Route

        from detox_ray import __version__
        from detox_ray.serve.compare import routes as compare
        from detox_ray.serve.http import errors, operations
        from detox_ray.serve.http.admission import Door
        from detox_ray.serve.http.keys import beyond_loopback
        from detox_ray.serve.http.request_log import RequestLog
        from detox_ray.serve.http.security import Security
        from detox_ray.serve.openai import routes as completions
        from detox_ray.serve.pages import routes as pages
        from detox_ray.serve.perspective import routes as perspective

        config = self.served.config
        # No docs_url: those pages load scripts from elsewhere.
        app = FastAPI(title="detox_ray", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False)
        paths: set[str] = set()
        for room in (operations, completions, compare, perspective, pages):
            router = room.routes(self)
            paths |= {route.path for route in router.routes if isinstance(route, Route)}
            # A route's own responses go before these.
            app.include_router(router, responses=errors.GOOGLE_RESPONSES if room is perspective else errors.RESPONSES)
        if self.keys is not None:
            document = app.openapi()  # FastAPI keeps it
            document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            document["security"] = [{"key": []}]
        app.add_exception_handler(errors.Refused, errors.on_refused)
        app.add_exception_handler(RequestValidationError, errors.on_validation)
        app.add_exception_handler(HTTPException, errors.on_routing)
        # From the innermost to the outermost.
        app.add_middleware(Door, admission=self.admission, limits=config.limits, entries=self.keys)
        if config.cors:
            app.add_middleware(
                CORSMiddleware,
                allow_origins=config.cors,
                allow_methods=["GET", "POST"],
                allow_headers=["authorization", "content-type", "x-goog-api-key", "x-request-id"],
                expose_headers=["x-request-id", "retry-after"],
            )
        app.add_middleware(Security, loopback=not beyond_loopback(config.host))
        app.add_middleware(
            RequestLog, metrics=self.metrics, paths=paths, texts=config.log_prompts, proxied=self.proxied
        )
        return app

    __serve_build_asgi_app__ = asgi  # Ray Serve's name for it

    @property
    def key_hashes(self) -> list[str]:
        """Of the keys that open the service; empty where it needs none."""
        return [entry.digest for entry in self.keys or ()]

    def engine(self, model: str) -> DeploymentHandle:
        """Of the model. Raises Refused (404) where it is not served."""
        from detox_ray.serve.http.errors import Refused

        if model not in self.engines:
            served = ", ".join(self.engines)
            message = f"model {model[:100]!r} is not served: choose one of {served}"
            raise Refused(404, message, "model", "model_not_found")
        return self.engines[model]

    async def ask(self, method: Any, *arguments: Any) -> Any:
        """The result of a deployment's method that changes nothing, such as ``engine.answer``.

        Where the replica dies over it, another is asked, once: the same request and seed give the same answer. A caller
        that is cancelled cancels the call.
        """
        from ray.exceptions import RayActorError
        from ray.serve.exceptions import ReplicaUnavailableError

        try:
            return await _awaited(method.remote(*arguments))
        except (RayActorError, ReplicaUnavailableError):
            return await _awaited(method.remote(*arguments))

    async def drain(self) -> int:
        """Take no more requests and wait for those in flight, ``limits.drain_s`` at most; how many are left then."""
        self.admission.draining = True
        try:
            async with asyncio.timeout(self.served.config.limits.drain_s):
                while self.admission.in_flight:
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pass
        return self.admission.in_flight


async def _awaited(response: Any) -> Any:
    try:
        return await response
    except asyncio.CancelledError:
        response.cancel()
        raise
