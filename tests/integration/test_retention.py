"""Old bars go, by interval; what is left is as if they had never been there."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from market_data.core import clock
from market_data.core.config import get_settings
from market_data.core.interval import Basis, Interval
from market_data.repositories.market_price_writer import SeriesKey
from market_data.repositories.retention import RetentionRepository
from market_data.services.retention import RetentionService
from tests.support.api import PREFIX
from tests.support.bars import add_instruments, assert_figures_recount, bars, fetch, upsert
from tests.support.command import invoke

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def at_noon(monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: NOW)


def spread(days: int, step: timedelta):
    """A bar every `step`, of so many days before now."""
    count = days * DAY // step
    return bars({NOW - n * step: 1.0 + n for n in range(1, count + 1)})


@pytest.fixture
async def stored(database) -> dict[Interval, int]:
    """Half a year of minutes (one an hour), and ten years of days."""
    (number,) = await add_instruments(database)
    batch = {
        SeriesKey(number, Interval.M1, "s", Basis.RAW): spread(180, timedelta(hours=1)),
        SeriesKey(number, Interval.H1, "s", Basis.RAW): spread(180, timedelta(hours=2)),
        SeriesKey(number, Interval.D1, "s", Basis.RAW): spread(3650, DAY),
    }
    await upsert(database, batch)
    return {key.interval: len(one) for key, one in batch.items()}


async def left(database) -> dict[str, tuple]:
    rows = await fetch(database, "SELECT interval, count(*), min(ts) FROM v_price GROUP BY interval")
    return {row[0]: row[1:] for row in rows}


@pytest.mark.parametrize(
    "limits",
    [{Interval.M1: 90}, {Interval.M1: 30, Interval.H1: 60}, {Interval.D1: 365}, {Interval.W1: 1}],
)
async def test_bars_older_than_their_limit_go(database, stored, limits):
    spans = {one: days * DAY for one, days in limits.items()}
    service = RetentionService(database, spans)
    told = await service.preview()
    assert sum(one.bars for one in await service.apply()) == sum(one.bars for one in told)
    found = await left(database)
    per_day = {Interval.M1: 24, Interval.H1: 12, Interval.D1: 1}
    for interval, count in stored.items():
        wanted = limits[interval] * per_day[interval] if interval in limits else count
        assert found[interval][0] == wanted
        if interval in limits:
            assert found[interval][1] >= NOW - spans[interval]
    await assert_figures_recount(database)
    assert [one.bars for one in await RetentionService(database, spans).apply()] == [0] * len(limits)


async def test_the_api_sees_it_as_a_deletion(client, app, database, stored):
    path = f"{PREFIX}/prices?symbols=S1&interval=1m&start=2024-01-01&end=2024-01-03"
    before = await client.get(path)
    assert len(before.json()["data"]) == 48
    limits = {Interval.M1: 30 * DAY, Interval.H1: 30 * DAY}
    removed = {one.interval: one.bars for one in await RetentionService(database, limits).apply()}
    assert removed == {Interval.M1: 150 * 24, Interval.H1: 150 * 12}
    after = await client.get(path, headers={"If-None-Match": before.headers["etag"]})
    assert (after.status_code, after.json()["data"]) == (200, [])


async def in_use(database):
    """Hold what a stream of bars holds of the table, for as long as its client takes."""
    raw = await database.connect()
    await raw.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    await raw.fetch("SELECT * FROM market_price_intraday")
    return raw


async def test_a_slow_reader_stops_nobody(database, stored):
    reader = await in_use(database)
    limits = {Interval.M1: 30 * DAY, Interval.H1: 30 * DAY}
    try:
        async with asyncio.timeout(20):
            removed = {one.interval: one.bars for one in await RetentionService(database, limits).apply()}
    finally:
        await reader.close()
    assert removed == {Interval.M1: 150 * 24, Interval.H1: 150 * 12}
    await assert_figures_recount(database)


async def test_bars_of_no_series_stop_nothing(database, stored):
    raw = await database.connect()
    await raw.execute(
        "SET session_replication_role = replica; INSERT INTO market_price_intraday "
        "SELECT 99, ts, open, high, low, close, volume, run_id FROM market_price_intraday WHERE series_id = 2"
    )
    await raw.close()
    limits = {Interval.M1: 30 * DAY, Interval.H1: 30 * DAY}
    removed = {one.interval: one.bars for one in await RetentionService(database, limits).apply()}
    assert removed == {Interval.M1: 150 * 24, Interval.H1: 150 * 12}
    await assert_figures_recount(database)


async def test_a_kept_interval_that_comes_meanwhile_is_kept(database, stored, monkeypatch):
    drop = RetentionRepository.drop_chunks
    late = SeriesKey(1, Interval.H4, "s", Basis.RAW)

    async def after_another(self, intervals, before):
        await upsert(database, {late: spread(180, timedelta(hours=4))})
        return await drop(self, intervals, before)

    monkeypatch.setattr(RetentionRepository, "drop_chunks", after_another)
    limits = {Interval.M1: 30 * DAY, Interval.H1: 30 * DAY}
    removed = {one.interval: one.bars for one in await RetentionService(database, limits).apply()}
    assert removed == {Interval.M1: 150 * 24, Interval.H1: 150 * 12}
    assert (await left(database))["4h"][0] == 180 * 6
    await assert_figures_recount(database)


def test_the_command(apple, here):
    here.setenv("RETENTION_DAYS", "1d=145, 1h=30")
    get_settings.cache_clear()
    told = invoke("db", "retention", "--dry-run")
    assert (told.code, told.out.splitlines()) == (
        0,
        ["1h: 0 bars before 2024-05-02 would be removed", "1d: 5 bars before 2024-01-08 would be removed"],
    )
    assert invoke("series", "--json").json()[0]["count"] == 5
    assert invoke("db", "retention", "--json").json()["removed"][1]["bars"] == 5
    assert invoke("series", "--json").json() == []


def test_a_wrong_limit_is_named(bare):
    for wrong in ("1m", "1m=0", "1m=x", "1M=3", "2m=5"):
        bare.setenv("RETENTION_DAYS", wrong)
        get_settings.cache_clear()
        outcome = invoke("db", "retention")
        assert outcome.code == 2
        assert "RETENTION_DAYS" in outcome.complaint


def test_nothing_is_removed_unless_asked(apple):
    assert "all bars are kept" in invoke("db", "retention").out
