"""Bars in and out of the tables: exact counts, untouched equals, figures that add up, order, nothing lost."""

import asyncio
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from market_data.core.bars import Bars
from market_data.core.exceptions import ConcurrentChange
from market_data.core.interval import Basis, Interval
from market_data.repositories.market_price_writer import BarWriter, SeriesKey, WriteCounts
from market_data.services.recorder import RunRecorder
from market_data.services.sealing import SealingService
from tests.support.bars import (
    DAY,
    START,
    add_instruments,
    assert_figures_recount,
    bars,
    day,
    fetch,
    upsert,
)

NAN = float("nan")


@pytest.fixture
async def key(database):
    return SeriesKey((await add_instruments(database))[0], Interval.D1, "api", Basis.RAW)


async def stored(database, table="market_price_daily") -> dict[datetime, float]:
    return dict(await fetch(database, f"SELECT ts, close FROM {table}"))


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
    order=st.lists(
        st.dictionaries(st.integers(0, 400), st.integers(1, 3), min_size=1, max_size=30),
        min_size=1,
        max_size=6,
    ).flatmap(lambda batches: st.permutations(batches + batches))
)
async def test_any_batches_twice_in_any_order_leave_what_a_dictionary_holds(database, order):
    instrument = (await add_instruments(database))[0]
    key = SeriesKey(instrument, Interval.D1, "api", Basis.RAW)
    model: dict[datetime, float] = {}
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
            mine = [key for key in keys if key is not keys[(number + turn) % 4]]
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


async def test_a_writer_sees_what_it_wrote_before_in_the_same_transaction(database, key):
    async with database.session() as session:
        writer = BarWriter(session)
        assert await writer.upsert({key: bars({day(5): 1.0})}, 1) == WriteCounts(inserted=1)
        mixed = {day(0): 1.0, day(5): 2.0, day(6): 1.0}
        assert await writer.upsert({key: bars(mixed)}, 1) == WriteCounts(inserted=2, updated=1)
        assert await writer.upsert({key: bars(mixed)}, 1) == WriteCounts(unchanged=3)
        series = (await fetch(database, "SELECT 1 FROM series"))[:1]
        assert not series  # others see nothing yet
    assert await stored(database) == mixed
    await assert_figures_recount(database)


async def test_bars_behind_the_last_one_removed_are_new(database, key):
    await upsert(database, {key: bars({day(n): 1.0 for n in range(4)})})
    async with database.session() as session:
        writer = BarWriter(session)
        await writer.upsert({key: bars({day(3): 1.0})}, 1)
        series = (await session.execute(text("SELECT id FROM series"))).scalar_one()
        assert await writer.delete(Interval.D1, [series], day(2), None) == 2
        assert await writer.upsert({key: bars({day(1): 1.0, day(2): 1.0, day(3): 5.0})}, 1) == WriteCounts(
            inserted=2, unchanged=1
        )
    await assert_figures_recount(database)


async def test_bars_of_an_instrument_that_is_gone_are_a_concurrent_change(database):
    nobody = SeriesKey(4711, Interval.D1, "api", Basis.RAW)
    with pytest.raises(ConcurrentChange):
        await upsert(database, {nobody: bars({day(0): 1.0})})


async def test_what_fails_leaves_nothing(database, key):
    class Stop(Exception):
        pass

    async def stopped() -> None:
        async with database.session() as session:
            await BarWriter(session).upsert({key: bars({day(0): 1.0})}, 1)
            raise Stop

    with pytest.raises(Stop):
        await stopped()
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


async def test_bars_written_past_the_program_are_met_with_the_way_out(database, key):
    await upsert(database, {key: bars({day(0): 1.0})})
    async with database.engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO market_price_daily SELECT series_id, ts + interval '1 day', 2, 2, 2, 2, 0, 1 "
                "FROM market_price_daily"
            )
        )
    with pytest.raises(ConcurrentChange, match="db reindex"):
        await upsert(database, {key: bars({day(1): 2.0})})
    await SealingService(database).reindex()
    assert await upsert(database, {key: bars({day(1): 3.0})}) == WriteCounts(0, 1, 0)


async def test_nothing_is_stored_outside_a_transaction(database):
    with pytest.raises(RuntimeError, match="no transaction"):
        await RunRecorder(database, 1, "api").store({}, [])
