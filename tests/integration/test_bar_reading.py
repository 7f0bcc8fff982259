"""Bars out of the tables: exact numbers, order of ranges, connections freed whoever leaves."""

import asyncio
from contextlib import aclosing
from datetime import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from market_data.core.bars import Bars
from market_data.core.interval import Basis, Interval
from market_data.core.vocabulary import SortOrder
from market_data.db.session import READERS
from market_data.repositories.market_price import BarReader, SeriesRange
from market_data.repositories.market_price_writer import SeriesKey
from market_data.services.sealing import SealingService
from tests.support.bars import add_instruments, bars, day, fetch, upsert

MOST_ROWS = 2 * 16_384 + 1440
"""A batch may outgrow what it should have by its growth and one block."""


async def read(database, interval, ranges, **options):
    found = []
    async for block in BarReader(database).stream(interval, ranges, **options):
        assert 0 < len(block.bars) <= MOST_ROWS
        found += zip(block.position.tolist(), block.bars.ts.tolist(), block.bars.close.tolist(), strict=True)
    return found


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(10**14, 10**15 - 1), st.integers(-30, 10)).map(lambda p: f"{p[0]}e{p[1]}"),
        max_size=40,
    )
)
async def test_numbers_come_back_bit_for_bit(database, texts):
    values = [0.00000812, 64908.72, 5e-324, 1.7976931348623157e308, *(float(text) for text in texts)]
    instrument = (await add_instruments(database))[0]
    key = SeriesKey(instrument, Interval.D1, "api", Basis.RAW)
    await upsert(database, {key: bars({day(n): value for n, value in enumerate(values)})})
    ((series,),) = await fetch(database, "SELECT max(id) FROM series")
    found = await read(database, Interval.D1, [SeriesRange(0, series)])
    assert [close.hex() for *_, close in found] == [value.hex() for value in values]
    assert await SealingService(database).seal() == 1
    assert await read(database, Interval.D1, [SeriesRange(0, series)]) == found
    async with database.engine.begin() as connection:
        await connection.execute(text("TRUNCATE instrument, series, market_price_daily CASCADE"))


@pytest.fixture
async def three_series(database):
    """Series 1 to 3 with 20,000, 0 and 50 days."""
    keys = [SeriesKey(i, Interval.D1, "api", Basis.RAW) for i in await add_instruments(database, 3)]
    many = bars({day(n): float(n + 1) for n in range(20_000)})
    few = bars({day(n): float(-n - 1) for n in range(50)})
    await upsert(database, {keys[0]: many, keys[1]: Bars.empty(), keys[2]: few})
    return [row[0] for row in await fetch(database, "SELECT id FROM series ORDER BY instrument_id")]


def naive(number: int) -> datetime:
    return day(number).replace(tzinfo=None)


@pytest.mark.parametrize("sealed", [False, True])
async def test_the_reader_keeps_the_order_of_ranges(database, three_series, sealed):
    many, none, few = three_series
    if sealed:
        assert await SealingService(database).seal() == 16
    ranges = [
        SeriesRange(3, few, day(10), day(12)),
        SeriesRange(5, none),
        SeriesRange(6, many, None, day(2)),
        SeriesRange(7, few, day(48)),
        SeriesRange(9, many, day(19_999)),
    ]
    expected = [
        (3, naive(10), -11.0),
        (3, naive(11), -12.0),
        (6, naive(0), 1.0),
        (6, naive(1), 2.0),
        (7, naive(48), -49.0),
        (7, naive(49), -50.0),
        (9, naive(19_999), 20_000.0),
    ]
    assert await read(database, Interval.D1, ranges) == expected
    turned = sorted(expected, key=lambda row: (row[0], -row[1].timestamp()))
    assert await read(database, Interval.D1, ranges, sort=SortOrder.DESC) == turned
    assert await read(database, Interval.D1, ranges, limit=3) == expected[:3]
    assert await read(database, Interval.D1, ranges, limit=7) == expected
    assert await read(database, Interval.D1, []) == []


async def test_latest_is_the_newest_bar_of_each_series(database, three_series):
    many, none, few = three_series
    ranges = [SeriesRange(3, few), SeriesRange(5, none), SeriesRange(6, many), SeriesRange(8, few)]
    (block,) = [block async for block in BarReader(database).latest(Interval.D1, ranges)]
    assert block.position.tolist() == [3, 6, 8]
    assert block.bars.close.tolist() == [-50.0, 20_000.0, -50.0]
    assert [block async for block in BarReader(database).latest(Interval.D1, ranges[1:2])] == []
    assert [block async for block in BarReader(database).latest(Interval.D1, [])] == []


@pytest.mark.parametrize("sealed", [False, True])
async def test_the_reader_gives_long_ranges_in_blocks(database, three_series, sealed):
    if sealed:
        await SealingService(database).seal()
    found = await read(database, Interval.D1, [SeriesRange(0, three_series[0])])
    assert [close for *_, close in found] == [float(n + 1) for n in range(20_000)]
    back = await read(database, Interval.D1, [SeriesRange(0, three_series[0])], sort=SortOrder.DESC)
    assert back == found[::-1]


async def assert_idle(database) -> None:
    """No query is left running; a dropped connection may take the server a moment to notice."""
    busy = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND state <> 'idle'"
    )
    async with asyncio.timeout(5):
        while await fetch(database, busy) != [(0,)]:
            pass


async def test_closing_a_stream_early_frees_its_connection(database, three_series):
    for _ in range(READERS + 5):  # more than there are connections
        async with aclosing(BarReader(database).stream(Interval.D1, [SeriesRange(0, three_series[0])])) as s:
            async for _block in s:
                break
    await assert_idle(database)
    assert len(await read(database, Interval.D1, [SeriesRange(0, three_series[2])])) == 50


async def test_a_cancelled_reader_frees_its_connection(database, three_series):
    begun = asyncio.Event()

    async def reader():
        async for _block in BarReader(database).stream(Interval.D1, [SeriesRange(0, three_series[0])]):
            begun.set()
            await asyncio.Event().wait()

    for _ in range(READERS + 5):
        task = asyncio.create_task(reader())
        await begun.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        begun.clear()
    await assert_idle(database)
