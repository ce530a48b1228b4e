"""Batching of streams, because a message between Ray's processes costs more than a token of a small model."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")

INTERVAL_S = 0.05  # as stream_batching_interval_ms of ray.serve.llm; 20 batches per second look steady
BATCHES_PER_S = 128  # for all streams of a replica together, so 4 each for 32 streams


class StreamBatches:
    """Groups the items of streams into batches.

    Args:
        interval_s: Least time between two batches of a stream.
        per_second: Most batches per second of all open streams, so that more streams have longer intervals.
    """

    def __init__(self, interval_s: float = INTERVAL_S, per_second: float = BATCHES_PER_S):
        self._interval_s, self._per_second = interval_s, per_second
        self._open_streams = 0

    @property
    def interval_s(self) -> float:
        """Return the time between two batches of a stream, for the number of streams that are open now."""
        return max(self._interval_s, self._open_streams / self._per_second)

    async def cut(self, items: AsyncGenerator[T, None]) -> AsyncGenerator[list[T], None]:
        """Yield all of ``items``, in order and in batches.

        The first item is yielded at once. Later batches contain the items that arrived in the meantime and are at least
        `interval_s` apart; the last batch is yielded as soon as the items end. If ``items`` raises an exception, it is
        raised after the items before it were yielded. Closing the generator closes ``items``.
        """
        waiting: list[T] = []
        arrived = asyncio.Event()

        async def collect() -> None:
            async with aclosing(items):
                async for item in items:
                    waiting.append(item)
                    arrived.set()

        self._open_streams += 1
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
                    await asyncio.wait([collecting], timeout=self.interval_s)
            await collecting
        finally:
            self._open_streams -= 1
            collecting.cancel()
            await asyncio.gather(collecting, return_exceptions=True)
