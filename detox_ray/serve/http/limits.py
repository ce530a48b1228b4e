"""Limits on the size of a request's body and on the requests in flight, per key and in total.

A gateway process has one event loop, so no lock is needed.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

from detox_ray.config import LimitsConfig
from detox_ray.serve.http.errors import RequestError
from detox_ray.serve.http.metrics import GatewayMetrics

RETRY_S = 1  # Retry-After for requests that arrive while the service is full or stopping


class InFlightLimiter:
    """The requests in flight in one gateway process. It admits or rejects the next one."""

    def __init__(self, limits: LimitsConfig, metrics: GatewayMetrics):
        self._limits, self._metrics = limits, metrics
        self._in_flight_by_key: Counter[str] = Counter()
        self.draining = False

    @property
    def in_flight(self) -> int:
        return self._in_flight_by_key.total()

    @contextmanager
    def admit(self, key: str) -> Iterator[None]:
        """Count a request as in flight while the block runs.

        Raises:
            RequestError: 429 if the key, or the service, has too many requests in flight; 503 if the service is
                stopping.
        """
        if self.draining:
            raise RequestError(503, "the service is stopping", code="stopping", headers=_retry_after())
        limits = self._limits
        if self.in_flight >= limits.in_flight_total:
            self._reject("in_flight_total", f"{limits.in_flight_total} requests of all keys are already in flight")
        if self._in_flight_by_key[key] >= limits.in_flight:
            self._reject("in_flight", f"{limits.in_flight} requests of this key are already in flight")
        self._in_flight_by_key[key] += 1
        self._metrics.in_flight.inc()
        try:
            yield
        finally:
            self._in_flight_by_key[key] -= 1
            if not self._in_flight_by_key[key]:
                del self._in_flight_by_key[key]
            self._metrics.in_flight.dec()

    def _reject(self, limit: str, message: str) -> None:
        self._metrics.refused.labels(limit).inc()
        raise RequestError(429, f"{message}: try again later", code="too_many_requests", headers=_retry_after())


def limit_body(scope: Scope, receive: Receive, max_bytes: int) -> Receive:
    """Wrap ``receive`` so that it raises RequestError (413) for a body of more than ``max_bytes``.

    A body counts as too large as soon as its Content-Length says so, or more bytes than that have arrived.
    """
    content_length = Headers(scope=scope).get("content-length", "")
    received = 0

    async def receive_limited() -> Message:
        nonlocal received
        if content_length.isdecimal() and int(content_length[:20]) > max_bytes:
            raise _body_too_large(max_bytes)
        message = await receive()
        received += len(message.get("body", b""))
        if received > max_bytes:
            raise _body_too_large(max_bytes)
        return message

    return receive_limited


def _body_too_large(max_bytes: int) -> RequestError:
    return RequestError(413, f"the body is larger than {max_bytes} bytes", code="body_too_large")


def _retry_after() -> dict[str, str]:
    return {"retry-after": str(RETRY_S)}
