"""The engine deployment: a replica has one engine, or several that share a process and its imports."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from detox_ray.cluster import keep_replica_on_loopback
from detox_ray.config import LimitsConfig
from detox_ray.models import vllm_options
from detox_ray.serve.spec import EngineSpec
from detox_ray.serve.workers.engine import Answer, Delta, Engine, FinishedSample, Kind, ModelCard, Sampling, Usage
from detox_ray.serve.workers.stream_batches import StreamBatches
from detox_ray.storage import Store


class EngineReplica:
    """A replica with one or more engines. A request goes to the engine that serves its model.

    Args:
        specs: The engines. If there are several, they have the same configuration and run on a CPU.
        store: The store with the models.
        limits: The limits of a request.
        gpu: Whether the engines use GPUs.
    """

    async def __init__(  # type: ignore[misc]
        self, specs: Sequence[EngineSpec], store: Store, limits: LimitsConfig, gpu: bool
    ):
        # Ray Serve awaits this method, so adapters are loaded before the replica counts as started.
        keep_replica_on_loopback()
        if not gpu:
            vllm_options.fork_engine_processes(specs[0].config.cpu_kv_cache_gb)
        self._batches = StreamBatches()
        # Starting an engine is mostly waiting for its process, so several are started concurrently.
        self._engines = await asyncio.gather(*(asyncio.to_thread(Engine, spec, store, limits) for spec in specs))
        for engine in self._engines:
            await engine.open()
        self._by_model = {
            name: engine for spec, engine in zip(specs, self._engines, strict=True) for name in spec.names
        }

    async def cards(self) -> list[ModelCard]:
        """Return a card for each model that this replica serves."""
        return [card for engine in self._engines for card in engine.cards()]

    async def answer(self, kind: Kind, body: dict[str, Any], request_id: str) -> Answer:
        """Answer an OpenAI request that is not streamed."""
        return await self._by_model[body["model"]].answer(kind, body, request_id)

    async def stream(
        self, kind: Kind, body: dict[str, Any], request_id: str
    ) -> AsyncGenerator[list[str | Usage | Answer], None]:
        """Yield the items of `Engine.stream` in batches."""
        events = self._by_model[body["model"]].stream(kind, body, request_id)
        async with aclosing(self._batches.cut(events)) as batches:
            async for batch in batches:
                yield batch

    async def sample(
        self, model: str, prompt: str, sampling: Sampling
    ) -> AsyncGenerator[list[Delta | FinishedSample | Answer], None]:
        """Yield the items of `Engine.sample` in batches."""
        async with aclosing(self._batches.cut(self._by_model[model].sample(model, prompt, sampling))) as batches:
            async for batch in batches:
                yield batch

    async def finished_sample(self, model: str, prompt: str, sampling: Sampling) -> FinishedSample | Answer:
        """Draw one sample and return only the last item of `sample`, in one message."""
        return await self._by_model[model].finished_sample(model, prompt, sampling)

    async def unfinished_requests(self, model: str) -> int:
        """Return the number of requests that the engine of a model is processing or has queued."""
        return self._by_model[model].unfinished_requests()

    async def check_health(self) -> None:
        """Raise an exception if an engine is dead, so that Ray Serve, which calls this, replaces the replica."""
        for engine in self._engines:
            await engine.check_health()
