"""Batches for streams: a message between Ray's processes costs more than a token of a small model."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")

INTERVAL_S = 0.05  # as ray.serve.llm's stream_batching_interval_ms: 20 batches a second look steady


async def in_batches(items: AsyncGenerator[T, None], interval_s: float = INTERVAL_S) -> AsyncGenerator[list[T], None]:
    """Yield all of ``items`` in order, in batches.

    The first item is yielded at once. Later batches hold what arrived in the meantime and are at least ``interval_s``
    apart; the last one is yielded as soon as the items end. An exception of ``items`` is raised after everything that
    was yielded before it. Closing the generator closes ``items``.
    """
    waiting: list[T] = []
    arrived = asyncio.Event()

    async def collect() -> None:
        async with aclosing(items):
            async for item in items:
                waiting.append(item)
                arrived.set()

    collecting = asyncio.create_task(collect())
    collecting.add_done_callback(lambda _: arrived.set())
    try:
        while not collecting.done() or waiting:
            await arrived.wait()
            arrived.clear()
            if waiting:
                batch = waiting.copy()
                waiting.clear()
                yield batch
                await asyncio.wait([collecting], timeout=interval_s)
        await collecting
    finally:
        collecting.cancel()
        await asyncio.gather(collecting, return_exceptions=True)
