"""Each request's id, its line in the log, and its place in the metrics.

A line is one JSON object on standard output. It holds no prompt, no completion, no key and no query; routes add to it
by ``note``. Texts get in only where ``log_prompts`` is on.
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
from detox_ray.serve.http.metrics import Metrics

TEXTS = ("prompt", "completion")  # noted fields that are logged on request only
_RECORD = "detox_ray.record"  # in the ASGI scope
_SANE = re.compile(r"[!-~]{1,128}")


def note(request: Request, **fields: Any) -> None:
    """Add to the request's line. Those named prompt and completion are texts."""
    request.scope[_RECORD].update(fields)


def request_id(request: Request) -> str:
    """The client's, or the one that was made for it."""
    return str(request.scope[_RECORD]["id"])


def set_key(scope: Scope, name: str) -> None:
    """Whose key the request came with."""
    scope[_RECORD]["key"] = name


class RequestLog:
    """Outermost of the middlewares. ``proxied``: behind Ray Serve's proxy."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: Collection[str], texts: bool, proxied: bool):
        self._app, self._metrics, self._paths, self._texts, self._proxied = app, metrics, paths, texts, proxied

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        begun = time.perf_counter()
        given = Headers(scope=scope).get("x-request-id")
        sane = given is None or _SANE.fullmatch(given) is not None
        made = uuid.uuid4().hex if given is None or not sane else given
        record: dict[str, Any] = {"id": made}
        scope[_RECORD] = record
        status, first = 0, 0.0

        async def watched(message: Message) -> None:
            nonlocal status, first
            if message["type"] == "http.response.start":
                status = message["status"]
                if given is None or not self._proxied:  # Ray Serve's proxy returns the id that a request came with
                    MutableHeaders(scope=message)["x-request-id"] = made
            elif not first and message.get("body"):
                first = time.perf_counter() - begun
            await send(message)

        try:
            if sane:
                await self._app(scope, receive, watched)
            else:
                refused = errors.Refused(400, "x-request-id: must be 1 to 128 visible ASCII characters", "x-request-id")
                await errors.response(refused, scope["path"])(scope, receive, watched)
        finally:
            self._finish(scope, record, status or 499, time.perf_counter() - begun, first)

    def _finish(self, scope: Scope, record: dict[str, Any], status: int, seconds: float, first: float) -> None:
        path = scope["path"]
        if route := scope.get("route"):
            path = route.path  # such as /runs/{name}/{ticket}: what stands for the names may be secret
        known = route is not None or path in self._paths  # one that is refused at the door has no route yet
        label, method = (path, scope["method"]) if known else ("other", "any")
        self._metrics.requests.labels(label, method, status).inc()
        self._metrics.seconds.labels(label).observe(seconds)
        if record.get("stream") and first:
            self._metrics.first_token.labels(label).observe(first)
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            **{name: value for name, value in record.items() if self._texts or name not in TEXTS},
            "method": scope["method"],
            "path": path[:200],
            "status": status,  # 499: the client went away before the answer began
            "seconds": round(seconds, 4),
        }
        print(json.dumps(line), file=sys.stdout, flush=True)  # ASCII, whatever the locale
