import asyncio
from collections.abc import AsyncGenerator

import pytest

from detox_ray.serve.workers.stream_batches import in_batches


async def collected(items: AsyncGenerator[int, None], interval_s: float) -> list[list[int]]:
    return [group async for group in in_batches(items, interval_s)]


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

        groups = in_batches(items(), interval_s=0)
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
        async for group in in_batches(items(), interval_s=3600):
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

        groups = in_batches(items(), interval_s=0.0)
        await anext(groups)
        await groups.aclose()
        return said

    assert asyncio.run(run()) == ["closed"]
