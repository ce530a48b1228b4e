"""How much one request may send, and how many may be in flight, per key and in all. In one event loop: no locks."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

from detox_ray.config import LimitsConfig
from detox_ray.serve.http.errors import Refused
from detox_ray.serve.http.metrics import Metrics

RETRY_S = 1  # what a client that came when all was full is told to wait


class Admission:
    """Counts the requests in flight of one gateway process."""

    def __init__(self, limits: LimitsConfig, metrics: Metrics):
        self._limits, self._metrics = limits, metrics
        self._by_key: Counter[str] = Counter()
        self.draining = False

    @property
    def in_flight(self) -> int:
        return self._by_key.total()

    @contextmanager
    def admitted(self, key: str) -> Iterator[None]:
        """In flight while the block lasts. Raises Refused: 429 where there are too many, 503 where all is to end."""
        if self.draining:
            raise Refused(503, "the service is stopping", code="stopping", headers=_retry_after())
        if self.in_flight >= self._limits.in_flight_total:
            self._refuse("in_flight_total", f"{self._limits.in_flight_total} requests are in flight, of all keys")
        if self._by_key[key] >= self._limits.in_flight:
            self._refuse("in_flight", f"{self._limits.in_flight} requests of this key are in flight")
        self._by_key[key] += 1
        self._metrics.in_flight.inc()
        try:
            yield
        finally:
            self._by_key[key] -= 1
            if not self._by_key[key]:
                del self._by_key[key]
            self._metrics.in_flight.dec()

    def _refuse(self, limit: str, message: str) -> None:
        self._metrics.refused.labels(limit).inc()
        raise Refused(429, f"{message}: try again later", code="too_many_requests", headers=_retry_after())


def limited(scope: Scope, receive: Receive, most: int) -> Receive:
    """``receive``, but Refused (413) is raised once the body has more than ``most`` bytes, said or sent."""
    said = Headers(scope=scope).get("content-length", "")
    got = 0

    async def counted() -> Message:
        nonlocal got
        if said.isdecimal() and int(said[:20]) > most:
            raise _too_large(most)
        message = await receive()
        got += len(message.get("body", b""))
        if got > most:
            raise _too_large(most)
        return message

    return counted


def _too_large(most: int) -> Refused:
    return Refused(413, f"the body is larger than {most} bytes", code="body_too_large")


def _retry_after() -> dict[str, str]:
    return {"retry-after": str(RETRY_S)}
