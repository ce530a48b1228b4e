"""The web application: the routes of all rooms, and the middlewares around them."""

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Route

from detox_ray import __version__
from detox_ray.serve.compare import routes as compare
from detox_ray.serve.http import errors, operations
from detox_ray.serve.http.admission import AdmissionMiddleware
from detox_ray.serve.http.gateway import Gateway
from detox_ray.serve.http.keys import is_beyond_loopback
from detox_ray.serve.http.request_log import RequestLogMiddleware
from detox_ray.serve.http.security import LOOPBACK_NAMES, SecurityHeadersMiddleware
from detox_ray.serve.openai import routes as openai
from detox_ray.serve.pages import routes as pages
from detox_ray.serve.perspective import routes as perspective


def fastapi_app(gateway: Gateway) -> FastAPI:
    """Build the application that answers for ``gateway``."""
    config = gateway.spec.config
    # There is no docs_url, because FastAPI's documentation pages load scripts from other sites.
    app = FastAPI(title="detox_ray", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False)
    paths: set[str] = set()
    for room in (operations, openai, compare, perspective, pages):
        router = room.routes(gateway)
        paths |= {route.path for route in router.routes if isinstance(route, Route)}
        # The responses that a route declares itself take precedence over these.
        app.include_router(router, responses=errors.GOOGLE_RESPONSES if room is perspective else errors.RESPONSES)

    if gateway.keys is not None:
        document = app.openapi()  # FastAPI caches the document and serves it with these changes
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]

    app.add_exception_handler(errors.RequestError, errors.on_request_error)
    app.add_exception_handler(RequestValidationError, errors.on_validation_error)
    app.add_exception_handler(HTTPException, errors.on_routing_error)

    # Middlewares, from the innermost to the outermost.
    app.add_middleware(AdmissionMiddleware, limiter=gateway.limiter, limits=config.limits, hashed_keys=gateway.keys)
    if config.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=config.cors,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "x-goog-api-key", "x-request-id"],
            expose_headers=["x-request-id", "retry-after"],
        )
    if not is_beyond_loopback(config.host):
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK_NAMES, www_redirect=False)
    app.add_middleware(SecurityHeadersMiddleware)
    app.add_middleware(
        RequestLogMiddleware,
        metrics=gateway.metrics,
        paths=paths,
        log_texts=config.log_prompts,
        proxied=gateway.proxied,
    )
    return app
