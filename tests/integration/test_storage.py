"""How bars lie: hypertables and columns where the server has them, moved there while they are in use."""

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from market_data.core.exceptions import StorageError
from market_data.core.interval import Basis, Interval
from market_data.db import layout, migrations, storage_move
from market_data.db.layout import Layout, arrange
from market_data.db.session import Database
from market_data.db.storage import CHUNKS, Home, read_storage
from market_data.repositories.market_price import BarReader, SeriesRange
from market_data.repositories.market_price_writer import SeriesKey
from tests.support.bars import add_instruments, assert_figures_recount, bars, fetch, upsert
from tests.support.reading import read

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
START = datetime(2024, 1, 1, tzinfo=UTC)
HYPERTABLES = pytest.mark.homes("timescale-apache", "timescale-full")
NONE = Layout()


def key(instrument: int, interval: Interval = Interval.M1) -> SeriesKey:
    return SeriesKey(instrument, interval, "s", Basis.RAW)


def spread(count: int, step: timedelta = timedelta(hours=1), price: float = 1.0):
    return bars({START + n * step: price + n / 8 for n in range(count)})


@pytest.fixture
async def fresh(empty_url):
    """A database with nothing in it."""
    database = Database(empty_url)
    yield database
    await database.close()


@pytest.fixture
async def plain(fresh, monkeypatch):
    """A full database whose server has come to offer TimescaleDB: 3 series of 2000 hours, 1 of 30 years."""

    async def nothing(*_):
        return None

    with monkeypatch.context() as patched:
        patched.setattr(migrations, "arrange", nothing)
        await migrations.upgrade(fresh)
    numbers = await add_instruments(fresh, 3)
    batch = {key(n): spread(2000) for n in numbers}
    await upsert(fresh, batch | {key(numbers[0], Interval.D1): spread(10_950, DAY)})
    return fresh


async def storage_of(database):
    raw = await database.connect()
    try:
        return await read_storage(raw)
    finally:
        await raw.close()


async def contents(database) -> list[tuple]:
    rows = "SELECT * FROM {} ORDER BY series_id, ts"
    return [await fetch(database, rows.format(table)) for table in CHUNKS]


async def test_empty_tables_become_what_the_server_offers(home, fresh):
    await migrations.upgrade(fresh)
    found = await storage_of(fresh)
    wanted = {"plain": Home.PLAIN, "timescale-apache": Home.APACHE, "timescale-full": Home.FULL}
    assert found.home is wanted[home.name]
    assert found.hypertables == (frozenset() if home.name == "plain" else frozenset(CHUNKS))
    assert await arrange(fresh, NONE) == found
    assert await migrations.differences(fresh) == []


@pytest.mark.homes("plain")
async def test_without_timescaledb_there_is_nowhere_to_move(plain):
    with pytest.raises(StorageError, match="does not offer TimescaleDB"):
        await storage_move.upgrade_storage(plain, NONE)


@HYPERTABLES
async def test_full_tables_are_moved_whole(plain):
    assert (await storage_of(plain)).hypertables == frozenset()
    await migrations.upgrade(plain)
    assert (await storage_of(plain)).hypertables == frozenset()
    before, told = await contents(plain), []
    moved = await storage_move.upgrade_storage(plain, NONE, lambda *step: told.append(step))
    assert [(one.table, one.bars) for one in moved] == [
        ("market_price_intraday", 6000),
        ("market_price_daily", 10_950),
    ]
    assert told[-1] == ("market_price_daily", 1, 1, 10_950)
    assert (await storage_of(plain)).hypertables == frozenset(CHUNKS)
    assert await contents(plain) == before
    assert await migrations.differences(plain) == []
    assert await fetch(plain, "SELECT nspname FROM pg_namespace WHERE nspname = 'market_data_move'") == []
    guards = "SELECT count(*) FROM pg_trigger WHERE tgname = 'bars_have_series'"
    assert await fetch(plain, guards) == [(0,)]
    await upsert(plain, {key(1): spread(2100, price=2.0)})
    await assert_figures_recount(plain)
    assert await fetch(plain, "SELECT count(*) FROM v_price") == [(6000 + 10_950 + 100,)]
    assert await storage_move.upgrade_storage(plain, NONE) == []


async def execute(database, statement: str):
    raw = await database.connect()
    try:
        return await raw.execute(statement)
    finally:
        await raw.close()


@HYPERTABLES
async def test_what_is_written_meanwhile_is_not_lost(plain, monkeypatch):
    """Writers of every kind go on while series are copied, and a reader of the old table ends in peace."""
    copy, written = storage_move._Move._copy_all, []

    async def writing(self, on_series):
        await copy(self, on_series)
        if self._table == "market_price_intraday":
            await upsert(plain, {key(1): spread(2050, price=9.0), key(2): spread(1)})
            await execute(plain, "UPDATE market_price_intraday SET close = high WHERE series_id = 3")
            await execute(
                plain, "DELETE FROM market_price_intraday WHERE series_id = 2 AND ts > '2024-02-01'"
            )
            with pytest.raises(asyncpg.ObjectInUseError, match="finish db upgrade-storage"):
                await execute(plain, "TRUNCATE market_price_intraday")
            written.append(await contents(plain))

    monkeypatch.setattr(storage_move._Move, "_copy_all", writing)
    async with aclosing(BarReader(plain).stream(Interval.M1, [SeriesRange(0, 4)])) as stream:
        await anext(stream)
        moving = asyncio.create_task(storage_move.upgrade_storage(plain, NONE))
        rest = [block async for block in stream]
    assert sum(len(block.bars) for block in rest) < 2000
    (intraday, _) = await moving
    assert intraday.bars == len(written[0][0])
    assert await contents(plain) == written[0]


@HYPERTABLES
async def test_what_was_interrupted_goes_on(plain, monkeypatch):
    copy, copied = storage_move._Move._copy, []

    async def failing(self, series_id, *where):
        copied.append(series_id)
        if len(copied) == 2:
            raise ConnectionError("the machine went down")
        return await copy(self, series_id, *where)

    before = await contents(plain)
    with monkeypatch.context() as patched:
        patched.setattr(storage_move._Move, "_copy", failing)
        with pytest.raises(ConnectionError):
            await storage_move.upgrade_storage(plain, NONE)
    assert await contents(plain) == before
    await upsert(plain, {key(1): spread(2001)})
    told = []
    await storage_move.upgrade_storage(plain, NONE, lambda *step: told.append(step))
    assert [step[:3] for step in told if step[0].endswith("intraday")] == [
        ("market_price_intraday", 2, 3),
        ("market_price_intraday", 3, 3),
    ]
    assert [len(rows) for rows in await contents(plain)] == [6001, 10_950]


@HYPERTABLES
async def test_a_copy_that_differs_takes_no_place(plain, monkeypatch):
    swap = storage_move._Move._count

    async def losing(self):
        await self._raw.execute(f"DELETE FROM {self._into} WHERE ts < '2024-01-02'")
        return await swap(self)

    before = await contents(plain)
    monkeypatch.setattr(storage_move._Move, "_count", losing)
    with pytest.raises(StorageError, match="has 6000 bars and its copy 5928"):
        await storage_move.upgrade_storage(plain, NONE)
    assert await contents(plain) == before


@HYPERTABLES
async def test_two_do_not_move_at_once(plain):
    raw = await plain.connect()
    await raw.fetchval("SELECT pg_advisory_lock($1)", storage_move.MOVE_LOCK)
    with pytest.raises(StorageError, match="another process"):
        await storage_move.upgrade_storage(plain, NONE)
    await raw.close()


async def plan(database, query: str) -> str:
    raw = await database.connect()
    try:
        return "\n".join(row[0] for row in await raw.fetch(f"EXPLAIN {query}"))
    finally:
        await raw.close()


@HYPERTABLES
async def test_a_day_of_minutes_touches_one_chunk(plain):
    await storage_move.upgrade_storage(plain, NONE)
    day = "series_id = 1 AND ts >= '2024-02-10+00' AND ts < '2024-02-11+00'"
    found = await plan(plain, f"SELECT * FROM market_price_intraday WHERE {day} ORDER BY ts")
    assert found.count("Index Scan") == 1
    assert "Seq Scan" not in found
    years = await plan(plain, "SELECT * FROM market_price_daily WHERE series_id = 4 ORDER BY ts")
    assert 5 <= years.count("Index Scan") <= 8  # thirty years


@pytest.mark.homes("timescale-full")
async def test_columns_come_with_age_as_the_settings_say(fresh):
    policies = (
        "SELECT hypertable_name, config ->> 'compress_after' FROM timescaledb_information.jobs "
        "WHERE proc_name = 'policy_compression' ORDER BY 1"
    )
    weeks = Layout({"market_price_intraday": timedelta(days=7), "market_price_daily": timedelta(days=365)})
    await migrations.upgrade(fresh, layout=weeks)
    wanted = [("market_price_daily", "365 days"), ("market_price_intraday", "7 days")]
    assert await fetch(fresh, policies) == wanted
    await arrange(fresh, Layout({"market_price_intraday": timedelta(days=30)}))
    assert await fetch(fresh, policies) == [("market_price_intraday", "30 days")]
    await arrange(fresh, NONE)
    assert await fetch(fresh, policies) == []


@pytest.mark.homes("timescale-full")
async def test_bars_in_columns_are_read_and_written_like_others(database):
    numbers = await add_instruments(database, 2)
    await upsert(database, {key(n): spread(3000) for n in numbers})
    wanted = await read(database, Interval.M1, [SeriesRange(0, 1)])
    chunks = await fetch(
        database, "SELECT count(compress_chunk(c)) FROM show_chunks('market_price_intraday') c"
    )
    assert chunks[0][0] >= 4
    assert await read(database, Interval.M1, [SeriesRange(0, 1)]) == wanted
    again = await upsert(database, {key(1): spread(3000)})
    assert (again.inserted, again.updated, again.unchanged) == (0, 0, 3000)
    halves = bars({START + n * timedelta(minutes=30): 1.0 + n / 16 for n in range(6000)})
    found = await upsert(database, {key(1): halves, key(2): spread(3100, price=5.0)})
    assert (found.inserted, found.updated, found.unchanged) == (3000 + 100, 3000, 3000)
    seen = await read(database, Interval.M1, [SeriesRange(0, 1)])
    assert [row[5] for row in seen] == halves.close.tolist()
    await assert_figures_recount(database)


async def test_the_extension_may_be_forbidden(home, fresh, monkeypatch):
    """Who may not create it works with plain tables, and is told."""

    async def refused(raw):
        raise asyncpg.InsufficientPrivilegeError("permission denied to create extension")

    monkeypatch.setattr(layout, "_create_extension", refused)
    await migrations.upgrade(fresh)
    assert (await storage_of(fresh)).home is Home.PLAIN
