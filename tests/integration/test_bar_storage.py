"""Bars in and out of the tables: exact counts, untouched equals, figures that add up, order, nothing lost."""

import asyncio
import random
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from market_data.core.bars import Bars
from market_data.core.exceptions import ConcurrentChange
from market_data.core.interval import Basis, Interval
from market_data.core.vocabulary import SortOrder
from market_data.db.session import READERS
from market_data.repositories.market_price import BLOCK_ROWS, BarReader, SeriesRange
from market_data.repositories.market_price_writer import BarWriter, SeriesKey, WriteCounts

DAY = timedelta(days=1)
START = datetime(2000, 1, 1, tzinfo=UTC)
NAN = float("nan")


def bars(rows: dict[datetime, float], volume: float = 1.0) -> Bars:
    """Flat bars by start, in order of time."""
    stamps = sorted(rows)
    closes = np.array([rows[stamp] for stamp in stamps], "float64")
    ts = np.array([stamp.replace(tzinfo=None) for stamp in stamps], "datetime64[us]")
    return Bars(ts, closes, closes, closes, closes, np.full(len(stamps), volume))


def day(number: int) -> datetime:
    return START + number * DAY


async def add_instruments(database, count=1) -> list[int]:
    async with database.session() as session:
        found = await session.execute(
            text(
                "INSERT INTO instrument (symbol, exchange, asset_class, currency) "
                "SELECT 'S' || n, 'X', 'equity', 'USD' FROM generate_series(1, :count) n RETURNING id"
            ),
            {"count": count},
        )
        return list(found.scalars())


@pytest.fixture
async def key(database):
    return SeriesKey((await add_instruments(database))[0], Interval.D1, "api", Basis.RAW)


async def upsert(database, batch, run_id=1) -> WriteCounts:
    async with database.session() as session:
        return await BarWriter(session).upsert(batch, run_id)


async def fetch(database, query: str, **values):
    async with database.connection() as connection:
        return [tuple(row) for row in await connection.execute(text(query), values)]


async def stored(database, table="market_price_daily") -> dict[datetime, float]:
    return dict(await fetch(database, f"SELECT ts, close FROM {table}"))


async def assert_figures_recount(database) -> None:
    """The figures each series carries are those of its bars, counted anew."""
    wrong = await fetch(
        database,
        """
        SELECT s.id, s.bar_count, count(p.ts), s.first_ts, min(p.ts), s.last_ts, max(p.ts) FROM series s
        LEFT JOIN (SELECT series_id, ts FROM market_price_daily
                   UNION ALL SELECT series_id, ts FROM market_price_intraday) p ON p.series_id = s.id
        GROUP BY s.id
        HAVING (s.bar_count, s.first_ts, s.last_ts) IS DISTINCT FROM (count(p.ts), min(p.ts), max(p.ts))
        """,
    )
    assert wrong == []


async def read(database, interval, ranges, **options):
    found = []
    async for block in BarReader(database).stream(interval, ranges, **options):
        assert len(block.bars) <= BLOCK_ROWS
        found += zip(block.position.tolist(), block.bars.ts.tolist(), block.bars.close.tolist(), strict=True)
    return found


async def test_counts_are_exact_and_equal_rows_are_untouched(database, key):
    first = await upsert(database, {key: bars({day(n): 10.0 + n for n in range(5)})}, run_id=1)
    assert first == WriteCounts(inserted=5, updated=0, unchanged=0)
    place = "SELECT ts, xmin::text, ctid::text, run_id FROM market_price_daily ORDER BY ts"
    before = await fetch(database, place)
    versions = await fetch(database, "SELECT version, updated_at FROM series")

    again = await upsert(database, {key: bars({day(n): 10.0 + n for n in range(5)})}, run_id=2)
    assert again == WriteCounts(inserted=0, updated=0, unchanged=5)
    assert await fetch(database, place) == before
    assert await fetch(database, "SELECT version, updated_at FROM series") == versions

    mixed = {day(1): 11.0, day(2): 99.0, day(7): 17.0}
    third = await upsert(database, {key: bars(mixed)}, run_id=3)
    assert third == WriteCounts(inserted=1, updated=1, unchanged=1)
    after = await fetch(database, place)
    assert [row for row in after if row[3] == 1] == [before[n] for n in (0, 1, 3, 4)]
    assert [(row[0], row[3]) for row in after if row[3] != 1] == [(day(2), 3), (day(7), 3)]
    assert await fetch(database, "SELECT version FROM series") == [(versions[0][0] + 1,)]
    await assert_figures_recount(database)


async def test_nothing_is_stored_of_nothing(database, key):
    assert await upsert(database, {}) == WriteCounts()
    assert await upsert(database, {key: Bars.empty()}) == WriteCounts()
    assert await fetch(database, "SELECT bar_count, first_ts, version FROM series") == [(0, None, 0)]


async def test_an_absent_volume_is_a_value_like_others(database, key):
    absent, present = bars({day(0): 1.0}, NAN), bars({day(0): 1.0}, 0.0)
    assert await upsert(database, {key: absent}) == WriteCounts(inserted=1)
    assert await upsert(database, {key: absent}) == WriteCounts(unchanged=1)
    assert await upsert(database, {key: present}) == WriteCounts(updated=1)
    assert await upsert(database, {key: present}) == WriteCounts(unchanged=1)
    assert await upsert(database, {key: absent}) == WriteCounts(updated=1)
    assert await fetch(database, "SELECT volume FROM v_price") == [(None,)]


async def test_each_column_alone_makes_a_bar_different(database, key):
    def one(**changed):
        values = {"open": 2.0, "high": 3.0, "low": 1.0, "close": 2.0, "volume": 5.0} | changed
        columns = {name: np.array([value]) for name, value in values.items()}
        return Bars(np.array(["2024-01-02"], "datetime64[us]"), **columns)

    await upsert(database, {key: one()})
    changes = [{"open": 2.5}, {"high": 3.5}, {"low": 0.5}, {"close": 2.5}, {"volume": 6.0}]
    for change in changes:
        assert await upsert(database, {key: one(**change)}) == WriteCounts(updated=1)
        assert await upsert(database, {key: one()}) == WriteCounts(updated=1)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(
        st.dictionaries(st.integers(0, 400), st.integers(1, 3), min_size=1, max_size=30),
        min_size=1,
        max_size=6,
    ),
    seed=st.integers(0, 2**32),
)
async def test_any_batches_twice_in_any_order_leave_what_a_dictionary_holds(database, batches, seed):
    instrument = (await add_instruments(database))[0]
    key = SeriesKey(instrument, Interval.D1, "api", Basis.RAW)
    model: dict[datetime, float] = {}
    order = batches + batches
    random.Random(seed).shuffle(order)
    for batch in order:
        rows = {day(number): float(close) for number, close in batch.items()}
        inserted = len(rows.keys() - model.keys())
        updated = sum(stamp in model and model[stamp] != close for stamp, close in rows.items())
        counts = await upsert(database, {key: bars(rows)})
        assert counts == WriteCounts(inserted, updated, len(rows) - inserted - updated)
        model |= rows
    query = (
        "SELECT ts, close FROM market_price_daily p JOIN series s ON s.id = p.series_id "
        "WHERE instrument_id = :one"
    )
    assert dict(await fetch(database, query, one=instrument)) == model
    await assert_figures_recount(database)
    async with database.engine.begin() as connection:
        await connection.execute(text("TRUNCATE instrument, series, market_price_daily CASCADE"))


async def test_sparse_corrections_over_a_long_range(database, key):
    every = {day(n): float(n + 1) for n in range(9000)}
    await upsert(database, {key: bars(every)})
    scattered = [0, 1, 64, 65, 130, 1000, 4000, 8998, 8999]
    fresh = {day(n): 0.5 for n in scattered} | {day(9100): 3.0, START - 500 * DAY: 4.0}
    assert await upsert(database, {key: bars(fresh)}) == WriteCounts(inserted=2, updated=len(scattered))
    assert await stored(database) == every | fresh
    assert await upsert(database, {key: bars(every | fresh)}) == WriteCounts(unchanged=9002)


async def test_every_bar_alone_in_years_of_minutes(database, key):
    minutes = SeriesKey(key.instrument_id, Interval.M1, "api", Basis.RAW)
    lonely = bars({day(n): 1.0 for n in range(5000)})
    assert await upsert(database, {minutes: lonely}) == WriteCounts(inserted=5000)
    assert await upsert(database, {minutes: lonely}) == WriteCounts(unchanged=5000)


async def test_intervals_bases_and_sources_are_series_of_their_own(database, key):
    keys = [
        SeriesKey(key.instrument_id, interval, source, basis)
        for interval in (Interval.M1, Interval.D1, Interval.W1)
        for source in ("api", "file")
        for basis in (Basis.RAW, Basis.SPLIT)
    ]
    monday = datetime(2024, 1, 1, tzinfo=UTC)
    batch = {one: bars({monday: float(number + 1)}) for number, one in enumerate(keys)}
    assert await upsert(database, batch) == WriteCounts(inserted=12)
    assert sorted((await fetch(database, "SELECT close FROM v_price")), key=str) == sorted(
        [(float(n),) for n in range(1, 13)], key=str
    )
    assert len(await fetch(database, "SELECT 1 FROM market_price_intraday")) == 4
    assert len(await fetch(database, "SELECT 1 FROM market_price_daily")) == 8


async def test_writers_at_the_same_time_lose_nothing(database):
    instruments = await add_instruments(database, 4)
    keys = [SeriesKey(one, Interval.D1, "api", Basis.RAW) for one in instruments]

    async def writer(number: int) -> WriteCounts:
        counts = WriteCounts()
        for turn in range(4):
            mine = random.Random(number * 10 + turn).sample(keys, 3)
            first = turn * 10 + number
            rows = {day(n): float(n + 1) for n in range(first, first + 25)}
            counts += await upsert(database, {key: bars(rows) for key in mine}, run_id=number)
        return counts

    done = await asyncio.gather(*(writer(number) for number in range(6)))
    total = sum(done, WriteCounts())
    assert total.updated == 0
    assert total.inserted + total.unchanged == 6 * 4 * 3 * 25
    found = await fetch(database, "SELECT ts, close, count(*) FROM market_price_daily GROUP BY 1, 2")
    assert sum(count for *_, count in found) == total.inserted
    assert all(close == (ts - START).days + 1 for ts, close, _ in found)
    await assert_figures_recount(database)


async def test_contradicting_writers_leave_one_of_their_versions(database, key):
    versions = [bars({day(n): float(writer) for n in range(50)}) for writer in range(1, 7)]
    done = await asyncio.gather(*(upsert(database, {key: v}, n) for n, v in enumerate(versions, 1)))
    assert sorted((c.inserted, c.updated) for c in done) == [(0, 50)] * 5 + [(50, 0)]
    found = await fetch(database, "SELECT DISTINCT close, run_id FROM market_price_daily")
    assert len(found) == 1
    assert found[0][0] == found[0][1]


async def test_a_writer_waits_for_the_one_before_and_sees_its_bars(database, key):
    async with database.session() as first:
        await BarWriter(first).upsert({key: bars({day(0): 1.0})}, 1)
        second = asyncio.create_task(upsert(database, {key: bars({day(0): 1.0})}, 2))
        await asyncio.wait({second}, timeout=0.2)
        assert not second.done()
    assert await second == WriteCounts(unchanged=1)


async def test_bars_of_an_instrument_that_is_gone_are_a_concurrent_change(database):
    nobody = SeriesKey(4711, Interval.D1, "api", Basis.RAW)
    with pytest.raises(ConcurrentChange):
        await upsert(database, {nobody: bars({day(0): 1.0})})


async def test_what_fails_leaves_nothing(database, key):
    class Stop(Exception):
        pass

    with pytest.raises(Stop):
        async with database.session() as session:
            await BarWriter(session).upsert({key: bars({day(0): 1.0})}, 1)
            raise Stop
    assert await fetch(database, "SELECT 1 FROM series") == []
    assert await fetch(database, "SELECT 1 FROM market_price_daily") == []


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["write", "delete"]), st.integers(0, 40), st.integers(1, 20)), max_size=12
    )
)
async def test_figures_equal_a_recount_after_anything(database, steps):
    instrument = (await add_instruments(database))[0]
    key = SeriesKey(instrument, Interval.D1, "api", Basis.RAW)
    await upsert(database, {key: Bars.empty()})
    ((series,),) = await fetch(database, "SELECT max(id) FROM series")
    model: set[int] = set()
    version = 0
    for number, (kind, first, length) in enumerate(steps):
        span = set(range(first, first + length))
        if kind == "write":
            counts = await upsert(database, {key: bars({day(n): number + 1.0 for n in span})})
            assert counts.inserted == len(span - model)
            model |= span
            version += 1
        else:
            async with database.session() as session:
                gone = await BarWriter(session).delete(Interval.D1, [series], day(first), day(first + length))
            assert gone == len(span & model)
            version += bool(gone)
            model -= span
        await assert_figures_recount(database)
        query = "SELECT bar_count, version FROM series WHERE id = :one"
        assert await fetch(database, query, one=series) == [(len(model), version)]
    async with database.engine.begin() as connection:
        await connection.execute(text("TRUNCATE instrument, series, market_price_daily CASCADE"))


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


async def test_the_reader_keeps_the_order_of_ranges(database, three_series):
    many, none, few = three_series
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
    assert await read(database, Interval.D1, ranges, each=1) == [expected[n] for n in (0, 2, 4, 6)]
    latest = await read(database, Interval.D1, ranges, each=1, sort=SortOrder.DESC)
    assert latest == [expected[n] for n in (1, 3, 5, 6)]
    assert await read(database, Interval.D1, []) == []
    assert await read(database, Interval.H1, ranges) == []


async def test_the_reader_gives_long_ranges_in_blocks(database, three_series):
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
