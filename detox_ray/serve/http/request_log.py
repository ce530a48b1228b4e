"""The request log: gives each request an id, a line of JSON on standard output, and a count in the metrics.

A line contains no key and no query string, and no prompt or completion unless ``log_prompts`` is on. Routes add fields
with ``log_fields``.
"""

import json
import re
import sys
import time
import uuid
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from detox_ray.serve.http import errors
from detox_ray.serve.http.metrics import GatewayMetrics

TEXTS = ("prompt", "completion")  # fields that are logged only if log_prompts is on
CLIENT_LEFT = 499  # logged as the status if the client disconnected before the answer began
_RECORD = "detox_ray.record"  # the key of the line's fields in the ASGI scope
_VALID_ID = re.compile(r"[!-~]{1,128}")


def log_fields(request: Request, **fields: Any) -> None:
    """Add fields to the request's line in the log. Those named prompt and completion hold texts."""
    request.scope[_RECORD].update(fields)


def request_id(request: Request) -> str:
    """Return the request's id, which the client or the middleware gave it."""
    return str(request.scope[_RECORD]["id"])


def set_key_holder(scope: Scope, name: str) -> None:
    """Log the holder of the request's key."""
    scope[_RECORD]["key"] = name


class RequestLogMiddleware:
    """The outermost middleware: gives every request an id, logs it and counts it.

    Args:
        app: The application inside.
        metrics: Counts the requests.
        paths: The paths of all routes, as labels for requests that are rejected before they reach their route.
        log_texts: Whether to log prompts and completions.
        proxied: Whether Ray Serve's proxy is in front. It returns the id that a client gave a request.
    """

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics, paths: Collection[str], log_texts: bool, proxied: bool):
        self._app, self._metrics, self._paths = app, metrics, paths
        self._log_texts, self._proxied = log_texts, proxied

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started = time.perf_counter()
        given_id = Headers(scope=scope).get("x-request-id")
        valid = given_id is None or _VALID_ID.fullmatch(given_id) is not None
        request_id = uuid.uuid4().hex if given_id is None or not valid else given_id
        record: dict[str, Any] = {"id": request_id}
        scope[_RECORD] = record
        status, first_token_s = 0, 0.0

        async def send_watched(message: Message) -> None:
            nonlocal status, first_token_s
            if message["type"] == "http.response.start":
                status = message["status"]
                if given_id is None or not self._proxied:
                    MutableHeaders(scope=message)["x-request-id"] = request_id
            elif not first_token_s and message.get("body"):
                first_token_s = time.perf_counter() - started
            await send(message)

        try:
            if valid:
                await self._app(scope, receive, send_watched)
            else:
                rule = "x-request-id: must be 1 to 128 visible ASCII characters"
                error = errors.RequestError(400, rule, "x-request-id")
                await errors.error_response(error, scope["path"])(scope, receive, send_watched)
        finally:
            self._finish(scope, record, status or CLIENT_LEFT, time.perf_counter() - started, first_token_s)

    def _finish(self, scope: Scope, record: dict[str, Any], status: int, seconds: float, first_token_s: float) -> None:
        path = scope["path"]
        if route := scope.get("route"):
            path = route.path  # such as /runs/{name}/{signature}, whose actual values may be secret
        known = route is not None or path in self._paths  # a request that was rejected early has no route yet
        label, method = (path, scope["method"]) if known else ("other", "any")
        self._metrics.requests.labels(label, method, status).inc()
        self._metrics.seconds.labels(label).observe(seconds)
        if record.get("stream") and first_token_s:
            self._metrics.first_token.labels(label).observe(first_token_s)
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            **{name: value for name, value in record.items() if self._log_texts or name not in TEXTS},
            "method": scope["method"],
            "path": path[:200],
            "status": status,
            "seconds": round(seconds, 4),
        }
        print(json.dumps(line), file=sys.stdout, flush=True)  # ASCII only, so that it works in every locale
