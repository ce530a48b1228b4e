"""What browsers are told to forbid, and which names the service answers under."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from detox_ray.serve.http import errors

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
_RAW = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
_LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}


class Security:
    """Adds the headers that an answer does not set itself.

    ``loopback``: only this machine reaches the service, without a key perhaps. Then a page from elsewhere could reach
    it through its visitor's browser, by a name of its own that it lets point to 127.0.0.1: such names are refused.
    """

    def __init__(self, app: ASGIApp, loopback: bool):
        self._app, self._loopback = app, loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                missing = [header for header in _RAW if header[0] not in given]
                message = {**message, "headers": [*message["headers"], *missing]}
            await send(message)

        if self._loopback and not is_loopback(Headers(scope=scope).get("host", "")):
            refused = errors.Refused(403, "Host: must be localhost, 127.0.0.1 or [::1]", "Host")
            return await errors.response(refused, scope["path"])(scope, receive, secured)
        await self._app(scope, receive, secured)


def is_loopback(host: str) -> bool:
    """Of a Host header, with or without a port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).lower() in _LOOPBACK
