"""Reading ahead."""

import asyncio

from market_data.services.ahead import ahead, with_lulls


async def test_the_next_is_prepared_while_one_is_worked_on():
    begun: list[int] = []

    async def source():
        for number in range(3):
            begun.append(number)
            yield number

    seen = []
    async for one in ahead(source()):
        await asyncio.sleep(0)
        seen.append((one, len(begun)))
    assert [one for one, _ in seen] == [0, 1, 2]
    assert seen[0][1] == 2


async def test_who_makes_one_wait_is_told_once_for_each_time():
    go_on = asyncio.Event()

    async def source():
        yield "first"
        await go_on.wait()
        yield "second"

    seen = []
    async for one in with_lulls(source(), 0.01):
        seen.append(one)
        if one is None:
            go_on.set()
    assert seen == ["first", None, "second"]


async def test_what_is_prepared_is_cancelled_when_nobody_wants_it():
    cancelled = []

    async def source():
        yield 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    pages = with_lulls(source(), 0.01)
    assert await anext(pages) == 1
    assert await anext(pages) is None
    await pages.aclose()
    assert cancelled == [True]
