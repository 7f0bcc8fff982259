"""Continuous aggregates say what the minutes say, whoever wrote, corrected or deleted them."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import count
from unittest.mock import AsyncMock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from market_data.core import clock
from market_data.core.interval import Basis, Interval
from market_data.db import migrations
from market_data.db.aggregates import refresh_aggregates
from market_data.db.layout import Layout
from market_data.db.session import Database
from market_data.db.storage_move import upgrade_storage
from market_data.repositories.market_price_writer import BarWriter, SeriesKey
from market_data.services import aggregates
from market_data.services.retention import RetentionService
from tests.support.api import add_instrument
from tests.support.bars import add_instruments, bars, fetch, upsert

MIDNIGHT = datetime(2024, 3, 30, tzinfo=UTC)
"""The day before Europe's clocks go forward, and two before a month ends."""
MINUTE = timedelta(minutes=1)
STEPS = {"5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240}
RECOMPUTED = """
    SELECT date_bin(:step, ts, '1970-01-01+00') AS start, (array_agg(open ORDER BY ts))[1], max(high),
        min(low), (array_agg(close ORDER BY ts DESC))[1], sum(volume)
    FROM v_price WHERE instrument_id = :instrument AND interval = '1m' GROUP BY start ORDER BY start
    """
AGGREGATED = """
    SELECT ts, open, high, low, close, volume FROM v_price_aggregate
    WHERE instrument_id = :instrument AND interval = :interval ORDER BY ts
    """
NUMBERS = count()
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["write", "write", "delete"]),
        st.integers(0, 3 * 1440),
        st.integers(1, 300),
        st.integers(1, 9999).map(lambda ticks: ticks / 100),
        st.sampled_from([float("nan"), 0.0, 0.1, 1234.567]),
    ),
    min_size=1,
    max_size=5,
)


async def assert_fresh(database, instrument: int) -> None:
    for interval, minutes in STEPS.items():
        step = timedelta(minutes=minutes)
        wanted = await fetch(database, RECOMPUTED, step=step, instrument=instrument)
        found = await fetch(database, AGGREGATED, interval=interval, instrument=instrument)
        assert [row[:5] for row in found] == [row[:5] for row in wanted]
        volumes = [[float("nan") if row[5] is None else row[5] for row in rows] for rows in (found, wanted)]
        assert volumes[0] == pytest.approx(volumes[1], rel=1e-12, abs=0, nan_ok=True)


@pytest.mark.homes("timescale-full")
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CHANGES)
async def test_aggregates_equal_a_recomputation_after_any_changes(client, database, changes):
    instrument = await add_instrument(client, f"B{next(NUMBERS)}", asset_class="crypto")
    key = SeriesKey(instrument, Interval.M1, "s", Basis.RAW)
    coarse = SeriesKey(instrument, Interval.M5, "s", Basis.RAW)
    await upsert(database, {key: bars({MIDNIGHT: 1.0}), coarse: bars({MIDNIGHT: 77.0})})
    await refresh_aggregates(database)
    ((series,),) = await fetch(
        database,
        "SELECT id FROM series WHERE instrument_id = :instrument AND interval = '1m'",
        instrument=instrument,
    )
    for kind, first, many, price, volume in changes:
        start = MIDNIGHT + first * MINUTE
        if kind == "write":
            rows = {start + n * 2 * MINUTE: price + n / 4 for n in range(many)}
            await upsert(database, {key: bars(rows, volume)})
        else:
            async with database.session() as session:
                end = start + many * MINUTE
                await BarWriter(session).delete(Interval.M1, [series], start, end)
        assert await refresh_aggregates(database)
        await assert_fresh(database, instrument)


@pytest.mark.homes("timescale-full")
async def test_the_api_refreshes_in_the_background(app, database):
    (number,) = await add_instruments(database)
    key = SeriesKey(number, Interval.M1, "s", Basis.RAW)
    await upsert(database, {key: bars({MIDNIGHT + n * MINUTE: 1.0 + n for n in range(10)})})

    async with asyncio.timeout(60):
        while len(await fetch(database, AGGREGATED, interval="5m", instrument=number)) < 2:
            pass


@pytest.mark.homes("timescale-full")
async def test_the_api_notices_aggregates_that_come_while_it_is_up(empty_url, monkeypatch):
    """Bars move into hypertables, and what is made of them is there at the end, and follows from then on."""
    database = Database(empty_url)
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "arrange", AsyncMock())
        await migrations.upgrade(database)
    monkeypatch.setattr(aggregates, "_EVERY_SECONDS", 0.05)
    monkeypatch.setattr(aggregates, "_WITHOUT_SECONDS", 0.05)
    (number,) = await add_instruments(database)
    key = SeriesKey(number, Interval.M1, "s", Basis.RAW)
    await upsert(database, {key: bars({MIDNIGHT + n * MINUTE: 1.0 + n for n in range(10)})})
    background = aggregates.BackgroundAggregates(database)
    await asyncio.sleep(0.5)
    await upgrade_storage(database, Layout())
    await assert_fresh(database, number)
    await upsert(database, {key: bars({MIDNIGHT + n * MINUTE: 1.0 + n for n in range(20)})})
    async with asyncio.timeout(60):
        while len(await fetch(database, AGGREGATED, interval="5m", instrument=number)) < 4:
            pass
    await background.close()
    await database.close()


@pytest.mark.homes("timescale-full")
async def test_aggregates_of_dropped_chunks_go(client, database, monkeypatch):
    number = await add_instrument(client, "OLD", asset_class="crypto")
    key = SeriesKey(number, Interval.M1, "s", Basis.RAW)
    await upsert(database, {key: bars({MIDNIGHT + n * 60 * MINUTE: 1.0 + n for n in range(24 * 100)})})
    await refresh_aggregates(database)
    monkeypatch.setattr(clock, "now", lambda: MIDNIGHT + timedelta(days=100))
    (removed,) = await RetentionService(database, {Interval.M1: timedelta(days=10)}).apply()
    assert removed.bars == 24 * 90
    await refresh_aggregates(database)
    await assert_fresh(database, number)


@pytest.mark.homes("plain", "timescale-apache")
async def test_elsewhere_there_are_none(app, database):
    assert await refresh_aggregates(database) is False
    assert await fetch(database, "SELECT to_regclass('v_price_aggregate')::text") == [(None,)]
