"""Batching of queries that arrive together in one event loop.

Ray Serve's batching works only in its replicas, but scorers are also served without Ray.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Query = TypeVar("Query")
Result = TypeVar("Result")


class TextBatches(Generic[Query, Result]):
    """Answers queries in batches, one batch at a time.

    A batch begins when it is full, or ``wait_s`` after its first query. Queries that arrive while a batch runs form the
    next one.
    """

    def __init__(self, answer: Callable[[list[Query]], Awaitable[Sequence[Result]]], size: int, wait_s: float):
        self._answer, self._size, self._wait_s = answer, size, wait_s
        self._waiting: list[tuple[Query, asyncio.Future[Result]]] = []
        self._full = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    async def ask(self, query: Query) -> Result:
        """Return the answer to a query, or raise the exception that answering its batch raised."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((query, future))
        if len(self._waiting) >= self._size:
            self._full.set()
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        while self._waiting:
            if len(self._waiting) < self._size:
                self._full = asyncio.Event()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._full.wait(), self._wait_s)
            batch, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
            asked = [(query, future) for query, future in batch if not future.done()]  # others were cancelled
            if asked:
                await self._answer_batch(asked)

    async def _answer_batch(self, asked: Sequence[tuple[Query, "asyncio.Future[Result]"]]) -> None:
        try:
            results = await self._answer([query for query, _ in asked])
        except Exception as error:
            for _, future in asked:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(asked, results, strict=True):
            if not future.done():
                future.set_result(result)
