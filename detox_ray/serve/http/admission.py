"""Admission: who may send a request, how long it may take, and the error that is sent if it fails.

It is the innermost middleware, so that its answers also get security headers, a request id and a line in the log.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from detox_ray.config import LimitsConfig
from detox_ray.serve.http import errors
from detox_ray.serve.http.errors import RequestError
from detox_ray.serve.http.keys import HashedKey, key_holder
from detox_ray.serve.http.limits import InFlightLimiter, limit_body
from detox_ray.serve.http.request_log import set_key_holder

PROBES = ("/healthz", "/readyz")  # need no key
UNLIMITED = (*PROBES, "/metrics")  # answered even if the service is full or stopping
PAGES = ("/", "/scorers", "/runs")  # contain no data of a run: they ask for the key, or check signed links
PAGE_FOLDERS = ("/static/", "/runs/")

_log = logging.getLogger("ray.serve")


class AdmissionMiddleware:
    """The middleware that checks the key and the limits of a request, and turns failures into error objects.

    Args:
        app: The application inside.
        limiter: Counts the requests in flight.
        limits: The limits on a request's body and time.
        hashed_keys: The keys of which a request must have one; None if it needs none.
    """

    def __init__(
        self, app: ASGIApp, limiter: InFlightLimiter, limits: LimitsConfig, hashed_keys: Sequence[HashedKey] | None
    ):
        self._app, self._limiter, self._limits, self._hashed_keys = app, limiter, limits, hashed_keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        streaming: bool | None = None  # None: the answer has not begun
        client = ClientConnection(limit_body(scope, receive, self._limits.body_bytes))

        async def send_watched(message: Message) -> None:
            nonlocal streaming
            if message["type"] == "http.response.start":
                streaming = Headers(raw=message["headers"]).get("content-type", "").startswith("text/event-stream")
            elif not message.get("more_body"):
                client.answered = True
            await send(message)

        try:
            key = self._authenticate(scope)
            if scope["path"] in UNLIMITED:
                return await self._app(scope, receive, send_watched)
            with self._limiter.admit(key):
                async with asyncio.timeout(self._limits.timeout_s) as deadline, client.watch(deadline):
                    await self._app(scope, client.receive, send_watched)
        except Exception as error:
            if client.left:  # nobody waits for an answer
                return
            request_error = self._request_error(error)
            if streaming is None:
                await errors.error_response(request_error, scope["path"])(scope, receive, send)
            elif streaming:  # the status has been sent: the error is the last event
                event = f"event: error\ndata: {json.dumps(errors.error_object(request_error, scope['path']))}\n\n"
                await send({"type": "http.response.body", "body": event.encode()})
            else:  # the rest of a plain answer cannot be replaced by an error
                raise

    def _authenticate(self, scope: Scope) -> str:
        """Return the name of the key's holder, or "anyone" if no key is needed. Raises RequestError (401)."""
        if self._hashed_keys is None or _is_public(scope):
            return "anyone"
        key = _key_in(scope)
        holder = key_holder(key, self._hashed_keys) if key else None
        if holder is None:
            how = "Authorization: Bearer KEY" + (", x-goog-api-key or ?key=" if _is_google(scope) else "")
            message = f"the API key is {'wrong' if key else 'missing'}: send {how}"
            raise RequestError(401, message, code="invalid_api_key", headers={"www-authenticate": "Bearer"})
        set_key_holder(scope, holder)
        return holder

    def _request_error(self, error: Exception) -> RequestError:
        """Convert an error into one that may be shown to the client. Log it unless it is a RequestError already."""
        if isinstance(error, RequestError):
            return error
        if isinstance(error, TimeoutError):
            return RequestError(504, f"no answer within {self._limits.timeout_s:g} s", code="timeout")
        request_error = errors.replica_error(error)
        if request_error is None:
            _log.error("a request failed", exc_info=error)
            return RequestError(500, "the service failed on this request", code="internal_error")
        _log.warning("a request failed: %s", type(error).__name__)
        return request_error


class ClientConnection:
    """The client's end of a request. If the client disconnects, its request is stopped."""

    def __init__(self, receive: Receive):
        self._receive = receive
        self._body_received, self._disconnected = asyncio.Event(), asyncio.Event()
        self.answered = False

    @property
    def left(self) -> bool:
        """Return whether the client disconnected before it was answered."""
        return self._disconnected.is_set() and not self.answered

    async def receive(self) -> Message:
        """Return the next message for the application: the body, and later the disconnection."""
        if self._body_received.is_set():
            await self._disconnected.wait()
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._disconnected.set()
        elif not message.get("more_body"):
            self._body_received.set()
        return message

    @asynccontextmanager
    async def watch(self, deadline: asyncio.Timeout) -> AsyncGenerator[None, None]:
        """While the block runs, let ``deadline`` expire as soon as the client disconnects after sending its body."""

        async def wait_for_disconnect() -> None:
            await self._body_received.wait()
            await self._receive()  # after the body comes nothing but the disconnection
            self._disconnected.set()
            if not self.answered:
                deadline.reschedule(asyncio.get_running_loop().time())

        task = asyncio.create_task(wait_for_disconnect())
        try:
            yield
        finally:
            task.cancel()


def _is_public(scope: Scope) -> bool:
    """Return whether a request needs no key, as for probes and the files of the pages."""
    path = scope["path"]
    if path in PROBES:
        return True
    return scope["method"] in ("GET", "HEAD") and (path in PAGES or path.startswith(PAGE_FOLDERS))


def _is_google(scope: Scope) -> bool:
    return bool(scope["path"].startswith(errors.GOOGLE))


def _key_in(scope: Scope) -> str:
    """Return the key in a request, or an empty string."""
    headers = Headers(scope=scope)
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    if _is_google(scope):
        query = parse_qs(scope["query_string"].decode("latin-1"))
        return headers.get("x-goog-api-key") or query.get("key", [""])[-1]
    return ""
