"""Who gets in, how long they may stay, and what they are told when something breaks.

Innermost of the middlewares, so that all it says gets headers, an id and a line in the log.
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
from detox_ray.serve.http import errors, keys
from detox_ray.serve.http.errors import Refused
from detox_ray.serve.http.limits import Admission, limited
from detox_ray.serve.http.request_log import set_key

PROBES = ("/healthz", "/readyz")  # no key, never full
WATCHED = (*PROBES, "/metrics")  # answered while all is full, and while it ends
PAGES = ("/", "/runs")  # hold no data of a run: they ask for the key, or check signed links
PAGES_BELOW = ("/static/", "/runs/")

_log = logging.getLogger("ray.serve")


class Door:
    """Key, limits in flight, size of the body, time; and failures become error objects."""

    def __init__(self, app: ASGIApp, admission: Admission, limits: LimitsConfig, entries: Sequence[keys.Entry] | None):
        self._app, self._admission, self._limits, self._entries = app, admission, limits, entries

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        streaming: bool | None = None  # None: the answer has not begun
        caller = Caller(limited(scope, receive, self._limits.body_bytes))

        async def watched(message: Message) -> None:
            nonlocal streaming
            if message["type"] == "http.response.start":
                streaming = Headers(raw=message["headers"]).get("content-type", "").startswith("text/event-stream")
            elif not message.get("more_body"):
                caller.answered = True
            await send(message)

        try:
            key = self._key(scope)
            if scope["path"] in WATCHED:
                return await self._app(scope, receive, watched)
            with self._admission.admitted(key):
                async with asyncio.timeout(self._limits.timeout_s) as limit, caller.heeded(limit):
                    await self._app(scope, caller.receive, watched)
        except Exception as error:
            if caller.left:  # nobody waits for an answer
                return
            refused = self._refused(error)
            if streaming is None:
                await errors.response(refused, scope["path"])(scope, receive, send)
            elif streaming:  # the status is gone: the error is the last event
                event = f"event: error\ndata: {json.dumps(errors.content(refused, scope['path']))}\n\n"
                await send({"type": "http.response.body", "body": event.encode()})
            else:  # an answer broken off in the middle cannot be mended
                raise

    def _key(self, scope: Scope) -> str:
        """The holder's name; "anyone" where no key is needed. Raises Refused (401)."""
        if self._entries is None or _open(scope):
            return "anyone"
        given = _given(scope)
        name = keys.holder(given, self._entries) if given else None
        if name is None:
            how = "Authorization: Bearer KEY" + (", x-goog-api-key or ?key=" if _google(scope) else "")
            message = f"the API key is {'wrong' if given else 'missing'}: send {how}"
            raise Refused(401, message, code="invalid_api_key", headers={"www-authenticate": "Bearer"})
        set_key(scope, name)
        return name

    def _refused(self, error: Exception) -> Refused:
        if isinstance(error, Refused):
            return error
        if isinstance(error, TimeoutError):
            return Refused(504, f"no answer within {self._limits.timeout_s:g} s", code="timeout")
        refused = of_ray(error)
        if refused is None:
            _log.error("A request failed", exc_info=error)
            return Refused(500, "the service failed at this request", code="internal_error")
        _log.warning("A request failed: %s", type(error).__name__)
        return refused


class Caller:
    """The other end of a request. What it has asked for ends when it goes away."""

    def __init__(self, receive: Receive):
        self._receive = receive
        self._asked, self._gone = asyncio.Event(), asyncio.Event()
        self.answered = False

    @property
    def left(self) -> bool:
        """Before it was answered."""
        return self._gone.is_set() and not self.answered

    async def receive(self) -> Message:
        """For the application: the body, and later that the caller has gone."""
        if self._asked.is_set():
            await self._gone.wait()
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._gone.set()
        elif not message.get("more_body"):
            self._asked.set()
        return message

    @asynccontextmanager
    async def heeded(self, limit: asyncio.Timeout) -> AsyncGenerator[None, None]:
        """While the block lasts: ``limit`` is over once the caller goes away after its body came whole."""

        async def watch() -> None:
            await self._asked.wait()
            await self._receive()  # after a body comes nothing but the end
            self._gone.set()
            if not self.answered:
                limit.reschedule(asyncio.get_running_loop().time())

        watching = asyncio.create_task(watch())
        try:
            yield
        finally:
            watching.cancel()


def of_ray(error: Exception) -> Refused | None:
    """503 where a replica is gone or overloaded: another time the same request may succeed. None for other errors."""
    from ray.exceptions import RayActorError
    from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError

    if isinstance(error, (RayActorError, BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError)):
        message = "the model's process went away while it worked on this request: try again"
        return Refused(503, message, code="unavailable", headers={"retry-after": "5"})
    return None


def _open(scope: Scope) -> bool:
    """Whether it needs no key; nor does a browser's question whether it may ask (CORS)."""
    path = scope["path"]
    if path in PROBES:
        return True
    return scope["method"] in ("GET", "HEAD") and (path in PAGES or path.startswith(PAGES_BELOW))


def _google(scope: Scope) -> bool:
    return bool(scope["path"].startswith(errors.GOOGLE))


def _given(scope: Scope) -> str:
    headers = Headers(scope=scope)
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    if _google(scope):
        query = parse_qs(scope["query_string"].decode("latin-1"))
        return headers.get("x-goog-api-key") or query.get("key", [""])[-1]
    return ""
