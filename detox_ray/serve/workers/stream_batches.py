"""Fewer, larger messages for streams: a message between Ray's processes costs more than a token of a small model."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")

EVERY_S = 0.05  # as ray.serve.llm's stream_batching_interval_ms: 20 times a second looks steady


async def grouped(items: AsyncGenerator[T, None], every_s: float = EVERY_S) -> AsyncGenerator[list[T], None]:
    """All of ``items`` in order: the first at once, then what came since, ``every_s`` after the last group at the
    earliest, and what is left at once when they end.

    What ``items`` raises comes after everything that they gave before. Closing it closes them.
    """
    waiting: list[T] = []
    came = asyncio.Event()

    async def collect() -> None:
        async with aclosing(items):
            async for item in items:
                waiting.append(item)
                came.set()

    collecting = asyncio.create_task(collect())
    collecting.add_done_callback(lambda _: came.set())
    try:
        while not collecting.done() or waiting:
            await came.wait()
            came.clear()
            if waiting:
                group = waiting.copy()
                waiting.clear()
                yield group
                await asyncio.wait([collecting], timeout=every_s)
        await collecting
    finally:
        collecting.cancel()
        await asyncio.gather(collecting, return_exceptions=True)
