"""HTTP: the routes of the service. What they do lives beside it."""

from collections.abc import Mapping
from typing import Any

from ray.serve.handle import DeploymentHandle

from detox_ray.serve.served import Served


class Gateway:
    """The ingress deployment. Routers of other files get it and use its public attributes."""

    def __init__(self, served: Served, engines: Mapping[str, DeploymentHandle], scoring: DeploymentHandle):
        self.served = served
        self.engines = dict(engines)  # by every name that a model is served under
        self.scoring = scoring

    def __serve_build_asgi_app__(self) -> Any:
        from fastapi import FastAPI
        from fastapi.exceptions import RequestValidationError
        from starlette.exceptions import HTTPException

        from detox_ray.serve import compare, completions, errors, operations, pages, perspective

        app = FastAPI(title="detox_ray", docs_url=None, redoc_url=None)
        for router in (operations, completions, compare, perspective, pages):
            app.include_router(router.routes(self))
        app.add_exception_handler(errors.Refused, errors.on_refused)
        app.add_exception_handler(RequestValidationError, errors.on_validation)
        app.add_exception_handler(HTTPException, errors.on_routing)
        return app

    def engine(self, model: str) -> DeploymentHandle:
        """Of the model. Raises Refused (404) where it is not served."""
        from detox_ray.serve.errors import Refused

        if model not in self.engines:
            served = ", ".join(self.engines)
            raise Refused(
                404, f"model {model[:100]!r} is not served: choose one of {served}", "model", "model_not_found"
            )
        return self.engines[model]
