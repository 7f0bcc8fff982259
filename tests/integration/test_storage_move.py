"""Moving into hypertables loses nothing when it is cut short, and keeps what others hung on the tables."""

import asyncio

import asyncpg
import pytest

from market_data.core.exceptions import StorageError
from market_data.core.interval import Interval
from market_data.db import storage_move
from market_data.db.storage import CHUNKS
from market_data.repositories.market_price import SeriesRange
from tests.integration.test_storage import (
    HYPERTABLES,
    NONE,
    contents,
    execute,
    fresh,
    key,
    plain,
    spread,
    storage_of,
)
from tests.support.bars import fetch, upsert
from tests.support.reading import read

__all__ = ["fresh", "plain"]
pytestmark = HYPERTABLES


async def test_a_series_that_came_while_it_was_cut_short_is_moved_once(plain, monkeypatch):
    copy = storage_move._Move._copy_all

    async def with_a_new_series(self, on_series):
        await copy(self, on_series)
        if self._table == "market_price_intraday":
            await upsert(plain, {key(1, Interval.M5): spread(500)})

    async def cut_short(self):
        raise ConnectionError("the machine went down")

    with monkeypatch.context() as patched:
        patched.setattr(storage_move._Move, "_copy_all", with_a_new_series)
        patched.setattr(storage_move._Move, "_finish", cut_short)
        with pytest.raises(ConnectionError):
            await storage_move.upgrade_storage(plain, NONE)
    before = await contents(plain)
    moved = await storage_move.upgrade_storage(plain, NONE)
    assert [one.bars for one in moved] == [6500, 10_950]
    assert await contents(plain) == before


async def test_bars_of_no_series_come_along(plain):
    """A guard keeps them out of tables, but for what ran at once with a deletion, or with triggers off."""
    await execute(
        plain,
        "SET session_replication_role = replica; "
        "INSERT INTO market_price_intraday SELECT 99, ts, open, high, low, close, volume, run_id "
        "FROM market_price_intraday WHERE series_id = 2",
    )
    before = await contents(plain)
    assert len(before[0]) == 8000
    await storage_move.upgrade_storage(plain, NONE)
    assert (await storage_of(plain)).hypertables == frozenset(CHUNKS)
    assert await contents(plain) == before


async def test_what_others_hung_on_the_table_stays(plain):
    await execute(
        plain,
        """
        CREATE FUNCTION told() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER moving_average AFTER INSERT ON market_price_intraday EXECUTE FUNCTION told();
        CREATE TRIGGER "Upper" AFTER INSERT ON market_price_intraday EXECUTE FUNCTION told();
        COMMENT ON TRIGGER "Upper" ON market_price_intraday IS 'theirs';
        CREATE VIEW theirs WITH (security_invoker = true) AS SELECT max(ts) FROM market_price_intraday;
        """,
    )
    await storage_move.upgrade_storage(plain, NONE)
    triggers = (
        "SELECT tgname, obj_description(oid, 'pg_trigger') FROM pg_trigger "
        "WHERE tgrelid = 'market_price_intraday'::regclass AND tgfoid = 'told'::regproc ORDER BY 1 DESC"
    )
    assert await fetch(plain, triggers) == [("moving_average", None), ("Upper", "theirs")]
    options = await fetch(plain, "SELECT reloptions FROM pg_class WHERE relname = 'theirs'")
    assert options == [(["security_invoker=true"],)]


async def test_what_would_have_to_be_dropped_is_named(plain):
    await execute(plain, "CREATE MATERIALIZED VIEW theirs AS SELECT max(ts) FROM market_price_intraday")
    before = await contents(plain)
    with pytest.raises(StorageError, match="materialized view theirs"):
        await storage_move.upgrade_storage(plain, NONE)
    assert await contents(plain) == before
    await execute(plain, "DROP MATERIALIZED VIEW theirs")
    await storage_move.upgrade_storage(plain, NONE)
    with pytest.raises(asyncpg.UndefinedTableError):
        await execute(plain, "SELECT FROM theirs")


async def test_a_reader_who_waits_for_the_exchange_sees_all(plain, monkeypatch):
    """Its snapshot is older than the exchange, and must not be older than the last of the copy."""
    finish, exchange, waiting = storage_move._Move._finish, storage_move.change_places, []

    async def after_a_late_write(self):
        if self._table == "market_price_intraday":
            await upsert(plain, {key(1): spread(2100)})
        return await finish(self)

    async def while_one_waits(raw, table, other):
        if table == "market_price_intraday":
            await raw.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            waiting.append(asyncio.create_task(read(plain, Interval.M1, [SeriesRange(0, 2)])))
            await asyncio.sleep(0.5)
        await exchange(raw, table, other)

    monkeypatch.setattr(storage_move._Move, "_finish", after_a_late_write)
    monkeypatch.setattr(storage_move, "change_places", while_one_waits)
    await storage_move.upgrade_storage(plain, NONE)
    assert len(await waiting[0]) == 2100
