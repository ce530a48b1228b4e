import asyncio
from collections.abc import AsyncGenerator

import pytest

from detox_ray.serve.workers.stream_batches import StreamBatches


async def collected(items: AsyncGenerator[int, None], interval_s: float) -> list[list[int]]:
    return [group async for group in StreamBatches(interval_s).cut(items)]


def test_all_items_in_order_the_first_at_once() -> None:
    async def items() -> AsyncGenerator[int, None]:
        for number in range(100):
            await asyncio.sleep(0)
            yield number

    groups = asyncio.run(collected(items(), interval_s=3600))  # the end of the items ends the wait
    assert groups[0] == [0]
    assert [item for group in groups for item in group] == list(range(100))
    assert len(groups) == 2


def test_what_comes_while_a_group_is_taken_comes_in_one() -> None:
    async def run() -> list[list[int]]:
        taken, given = asyncio.Event(), asyncio.Event()

        async def items() -> AsyncGenerator[int, None]:
            yield 0
            await taken.wait()
            for number in (1, 2, 3):
                yield number
            given.set()
            await asyncio.Event().wait()

        groups = StreamBatches(0).cut(items())
        found = [await anext(groups)]
        taken.set()
        await given.wait()
        found.append(await anext(groups))
        await groups.aclose()
        return found

    assert asyncio.run(run()) == [[0], [1, 2, 3]]


def test_nothing_gives_nothing() -> None:
    async def items() -> AsyncGenerator[int, None]:
        for number in ():
            yield number

    assert asyncio.run(collected(items(), interval_s=0)) == []


def test_an_error_comes_after_what_came_before_it() -> None:
    found: list[int] = []

    async def items() -> AsyncGenerator[int, None]:
        yield 1
        yield 2
        raise ValueError("broken")

    async def run() -> None:
        async for group in StreamBatches(3600).cut(items()):
            found.extend(group)

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(run())
    assert found == [1, 2]


@pytest.mark.parametrize("waits", [False, True])
def test_closing_it_closes_the_items(waits: bool) -> None:
    async def run() -> list[str]:
        said = []

        async def items() -> AsyncGenerator[int, None]:
            try:
                yield 1
                await asyncio.sleep(0)
                if waits:
                    await asyncio.Event().wait()
                yield 2
            finally:
                said.append("closed")

        groups = StreamBatches(0.0).cut(items())
        await anext(groups)
        await groups.aclose()
        return said

    assert asyncio.run(run()) == ["closed"]


def test_many_streams_share_the_batches_of_a_second() -> None:
    batches = StreamBatches(interval_s=0.05, per_second=100)

    async def one() -> AsyncGenerator[int, None]:
        yield 1
        await asyncio.Event().wait()

    async def run() -> list[float]:
        streams, intervals = [], []
        for _ in range(20):
            streams.append(batches.cut(one()))
            await anext(streams[-1])
            intervals.append(batches.interval_s)
        for stream in streams:
            await stream.aclose()
        return [*intervals, batches.interval_s]

    intervals = asyncio.run(run())
    assert intervals[:5] == [0.05] * 5  # few streams look steady
    assert intervals[9] == 0.1 and intervals[19] == 0.2
    assert intervals[-1] == 0.05  # closed streams do not count
