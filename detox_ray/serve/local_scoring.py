"""The scoring deployment in the gateway's process, for a service that serves scorers and no model.

No Ray is started, so the service is ready as soon as its scorers are loaded, and a request stays in one process.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any

from detox_ray.serve.spec import ServeSpec
from detox_ray.serve.workers.scoring import ScoringReplica


def is_local(spec: ServeSpec) -> bool:
    """Return whether one process is enough: no model, one replica, and no cluster to join."""
    scoring = spec.config.scoring
    several = max(scoring.replicas, scoring.max_replicas or 1) > 1
    return not spec.engines and not several and not os.environ.get("RAY_ADDRESS")


def local_scoring(spec: ServeSpec) -> "LocalHandle":
    """Load the scorers and return a handle for the gateway."""
    return LocalHandle(ScoringReplica(spec.scorers, spec.identifier, spec.fasttext, spec.config.scoring, spec.store))


class LocalHandle:
    """A handle of an object in this process, with the interface of a deployment's: ``handle.judge.remote(text)``."""

    def __init__(self, target: object):
        self._target = target

    def __getattr__(self, name: str) -> "LocalMethod":
        return LocalMethod(getattr(self._target, name))


class LocalMethod:
    """A method of a `LocalHandle`."""

    def __init__(self, function: Callable[..., Coroutine[Any, Any, Any]]):
        self._function = function

    def remote(self, *arguments: Any) -> "asyncio.Task[Any]":
        """Begin the call. The result can be awaited and cancelled."""
        return asyncio.ensure_future(self._function(*arguments))
