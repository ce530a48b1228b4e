"""The state that all routes share: the deployments behind the service, keys, limits and metrics."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from ray.exceptions import RayActorError
from ray.serve.exceptions import ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle

from detox_ray.serve.http.errors import RequestError
from detox_ray.serve.http.keys import HashedKey
from detox_ray.serve.http.limits import InFlightLimiter
from detox_ray.serve.http.metrics import GatewayMetrics
from detox_ray.serve.spec import ServeSpec


class Gateway:
    """The state of one process that answers HTTP.

    Args:
        spec: What is served.
        engines: For the name of each model, the handle of its engine.
        scoring: The handle of the scoring deployment.
        keys: The hashes of the valid API keys; None if no request needs a key.
        proxied: Whether this process is the ingress deployment behind Ray Serve's proxy, instead of listening itself.
    """

    def __init__(
        self,
        spec: ServeSpec,
        engines: Mapping[str, DeploymentHandle],
        scoring: DeploymentHandle,
        keys: Sequence[HashedKey] | None = None,
        proxied: bool = False,
    ):
        self.spec = spec
        self.engines = dict(engines)
        self.scoring = scoring
        self.keys = keys
        self.proxied = proxied
        self.metrics = GatewayMetrics()
        self.limiter = InFlightLimiter(spec.config.limits, self.metrics)

    @property
    def key_hashes(self) -> list[str]:
        """Return the hashes of the valid keys; an empty list if no key is needed."""
        return [key.digest for key in self.keys or ()]

    def engine(self, model: str) -> DeploymentHandle:
        """Return the engine of a model. Raises RequestError (404) if the model is not served."""
        if model not in self.engines:
            names = ", ".join(self.engines)
            message = f"model {model[:100]!r} is not served: choose one of {names}"
            raise RequestError(404, message, "model", "model_not_found")
        return self.engines[model]

    async def ask(self, method: Any, *arguments: Any) -> Any:
        """Call a method of a deployment that has no side effects, such as ``engine.answer``, and return its result.

        If the replica dies during the call, another replica is asked once: the same request and seed give the same
        answer. Cancelling the caller cancels the call.
        """
        try:
            return await _result(method.remote(*arguments))
        except (RayActorError, ReplicaUnavailableError):
            return await _result(method.remote(*arguments))

    async def drain(self) -> int:
        """Refuse new requests, wait up to ``limits.drain_s`` for those in flight, and return how many are left."""
        self.limiter.draining = True
        try:
            async with asyncio.timeout(self.spec.config.limits.drain_s):
                while self.limiter.in_flight:
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pass
        return self.limiter.in_flight


async def _result(response: Any) -> Any:
    try:
        return await response
    except asyncio.CancelledError:
        response.cancel()
        raise
