"""The rate at which requests are sent: one queue of time slots per service, shared by every process of the job.

`reserve` hands out the next slot and returns how long to wait for it; the caller sleeps, so nothing blocks here. Waits
are relative, so that clocks of different machines need not agree. `pause` delays all new slots, as a server demands
with 429. Under Ray the queue lives in a named actor. It belongs to the process that asked first; if that process ends,
the next caller starts a new queue (at most one request per caller comes early then).
"""

import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from detox_ray.storage import key_of

SLOWEST = 1 / 16  # of the allowed rate, to which 429s slow a process down
STEP = 1 / 50  # of the allowed rate, by which an answer raises it again
ATTEMPTS = 5  # to reach the shared queue while another process takes it over from one that ended


class Limiter(Protocol):
    """Hands out slots."""

    def reserve(self, interval: float) -> float:
        """Return the seconds to wait before sending; the next slot is ``interval`` seconds after this one."""
        ...

    def pause(self, seconds: float) -> None:
        """Hand out no new slot until so many seconds have passed."""
        ...


class Pace:
    """The rate at which one process asks: halved when the server says 429, raised again while it answers.

    It never exceeds the rate that the user allows, and never falls below `SLOWEST` of it.
    """

    def __init__(self, queries_per_second: float, clock: Callable[[], float] = time.monotonic):
        self._most = self._rate = queries_per_second
        self._clock, self._slowed, self._lock = clock, float("-inf"), threading.Lock()

    @property
    def interval(self) -> float:
        """Return the seconds between two requests."""
        return 1 / self._rate

    def refused(self, sent: float) -> None:
        """Halve the rate, once for all requests that were on their way when it was last halved (``sent``: when)."""
        with self._lock:
            if sent >= self._slowed:
                self._rate = max(self._rate / 2, self._most * SLOWEST)
                self._slowed = self._clock()

    def answered(self) -> None:
        """Raise the rate by a fixed step, up to what is allowed."""
        with self._lock:
            self._rate = min(self._most, self._rate + self._most * STEP)


class LocalLimiter:
    """The queue of one process's threads; the shared queue holds one, too."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock, self._next, self._lock = clock, float("-inf"), threading.Lock()

    def reserve(self, interval: float) -> float:
        with self._lock:
            now = self._clock()
            slot = max(now, self._next)
            self._next = slot + interval
            return slot - now

    def pause(self, seconds: float) -> None:
        with self._lock:
            self._next = max(self._next, self._clock() + seconds)


class ClusterLimiter:
    """The queue that all processes of a Ray job find under ``name``."""

    def __init__(self, name: str):
        self._name = name
        self._queue: Any = None
        self._lock = threading.Lock()

    def reserve(self, interval: float) -> float:
        return float(self._call("reserve", interval))

    def pause(self, seconds: float) -> None:
        self._call("pause", seconds)

    def _call(self, method: str, argument: float) -> Any:
        import ray

        for attempt in range(1, ATTEMPTS + 1):
            try:
                return ray.get(getattr(self._joined(), method).remote(argument))
            except ray.exceptions.RayActorError:
                if attempt == ATTEMPTS:
                    raise
                with self._lock:
                    self._queue = None
                time.sleep(attempt)
        raise AssertionError("the last attempt returns or raises")

    def _joined(self) -> Any:
        import ray

        with self._lock:
            if self._queue is None:
                queue = ray.remote(num_cpus=0)(LocalLimiter)
                self._queue = queue.options(name=self._name, get_if_exists=True).remote()
            return self._queue


def limiter_for(*service: str) -> Limiter:
    """Return the queue of a service, by what identifies it: shared if Ray runs, else this process's own."""
    ray = sys.modules.get("ray")  # not imported here: whoever uses Ray has imported it
    if ray is not None and ray.is_initialized():
        return ClusterLimiter(f"detox-ray-limiter-{key_of(service=service)}")
    return LocalLimiter()
