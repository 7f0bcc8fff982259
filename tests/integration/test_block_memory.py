"""Pages put together from blocks that were read before are of one moment, as if they were read together."""

import random
import time
from datetime import UTC, datetime, timedelta

import pytest

from market_data.core.interval import Basis, Interval
from market_data.core.vocabulary import SortOrder
from market_data.repositories.market_price import BarReader, SeriesRange
from market_data.repositories.market_price_writer import SeriesKey
from market_data.services.sealing import SealingService
from tests.integration.test_sealing_together import finish
from tests.support.bars import add_instruments, bars, fetch, upsert

MIDNIGHT = datetime(2024, 1, 2, tzinfo=UTC)
MINUTES = [MIDNIGHT + timedelta(minutes=n) for n in range(-5, 5)]
"""Half of them in the block of one day, half in that of the next."""


@pytest.fixture
async def key(database):
    (instrument,) = await add_instruments(database)
    return SeriesKey(instrument, Interval.M1, "api", Basis.RAW)


async def rewrite(database, key, value: float) -> int:
    """Give all bars one value, seal them, and return the version that has it."""
    await upsert(database, {key: bars(dict.fromkeys(MINUTES, value))})
    await SealingService(database).seal()
    ((version,),) = await fetch(database, "SELECT version FROM series")
    return version


async def page(reader, version: int, limit: int, sort=SortOrder.ASC) -> list[float]:
    found = []
    async for block in reader.stream(
        Interval.M1, [SeriesRange(0, 1, version=version)], sort=sort, limit=limit
    ):
        found += block.bars.close.tolist()
    return found


@pytest.mark.parametrize("sort", SortOrder)
async def test_blocks_of_two_versions_are_never_put_together(database, key, sort):
    reader = BarReader(database, 1_000_000)
    before = await rewrite(database, key, 1.0)
    assert await page(reader, before, 8, sort) == [1.0] * 8
    after = await rewrite(database, key, 2.0)
    assert await page(reader, after, 3, sort) == [2.0] * 3  # the first of both blocks is read anew
    assert len(set(await page(reader, before, 8, sort))) == 1  # by one who looked before the change
    assert await page(reader, after, 8, sort) == [2.0] * 8


async def test_pages_are_of_one_moment_while_all_is_rewritten(database, key):
    reader, end = BarReader(database, 1_000_000), time.monotonic() + 1.0
    await rewrite(database, key, 1.0)
    reads = []

    async def write() -> None:
        value = 1.0
        while time.monotonic() < end:
            value += 1
            await rewrite(database, key, value)

    async def read(number: int) -> None:
        chance = random.Random(number)  # noqa: S311 # for no secret
        while time.monotonic() < end:
            ((version, newest),) = await fetch(
                database, "SELECT version, (SELECT close FROM market_price_intraday LIMIT 1) FROM series"
            )
            limit, sort = chance.choice([3, 8, 10]), chance.choice(list(SortOrder))
            seen = await page(reader, version, limit, sort)
            assert len(seen) == limit
            assert len(set(seen)) == 1
            assert seen[0] >= newest
            reads.append(seen)

    await finish(write(), *(read(number) for number in range(4)))
    assert len(reads) > 20
