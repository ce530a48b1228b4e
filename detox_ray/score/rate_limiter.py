"""Limit the rate of requests by a queue of time slots for each service, shared by all processes of the job.

`reserve` assigns the next slot and returns how long to wait for it. The caller sleeps, so nothing blocks here. Waits
are relative, so the clocks of different machines need not agree. `pause` delays all new slots, as a server demands with
a 429. Under Ray, the queue lives in a named actor, which belongs to the process that asked first. If that process ends,
the next caller starts a new queue; at most one request per caller is then too early.
"""

import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from detox_ray.storage import key_of

SLOWEST = 1 / 16  # lowest rate after 429s, as a share of the allowed rate
STEP = 1 / 50  # by how much an answer raises the rate, as a share of the allowed rate
ATTEMPTS = 5  # how often to try to reach the shared queue after the process that owned it has ended


class Limiter(Protocol):
    """A queue of time slots for requests."""

    def reserve(self, interval: float) -> float:
        """Return the seconds to wait before sending; the next slot is ``interval`` seconds after this one."""
        ...

    def pause(self, seconds: float) -> None:
        """Assign no new slot before this many seconds have passed."""
        ...


class Pace:
    """The rate at which one process sends requests: halved by a 429, and raised again by answers.

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
        """Halve the rate, unless a request at time ``sent`` was already on its way when it was last halved."""
        with self._lock:
            if sent >= self._slowed:
                self._rate = max(self._rate / 2, self._most * SLOWEST)
                self._slowed = self._clock()

    def answered(self) -> None:
        """Raise the rate by a fixed step, up to the allowed rate."""
        with self._lock:
            self._rate = min(self._most, self._rate + self._most * STEP)


class LocalLimiter:
    """The queue of one process's threads. The shared queue is one of these in an actor."""

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
    """Return the queue of the service that the arguments identify: shared if Ray runs, else this process's own."""
    ray = sys.modules.get("ray")  # do not import it: if Ray is in use, it is imported already
    if ray is not None and ray.is_initialized():
        return ClusterLimiter(f"detox-ray-limiter-{key_of(service=service)}")
    return LocalLimiter()
