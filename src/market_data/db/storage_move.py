"""Moves full tables of bars into hypertables while the database is in use.

The new table is filled series by series, in a schema of its own. Triggers note what is written to the old
one meanwhile; that is copied again, the last of it while nobody may write. Both are counted by series, and
change places in that transaction. What was interrupted goes on where it stopped.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import asyncpg

from market_data.core.exceptions import StorageError
from market_data.db.aggregates import refresh_aggregates
from market_data.db.layout import Layout, arrange
from market_data.db.session import Database, Raw
from market_data.db.storage import Home, make_hypertable, read_storage
from market_data.db.storage_swap import change_places, require_replaceable

MOVE_LOCK = 0x6D64_0005
"""Advisory lock held while bars move ("md", purpose 5)."""
_ATTEMPTS = 60
_BETWEEN_SECONDS = 1.0
"""Between tries to change places: meanwhile, what others do with the table can end."""
_ROUNDS = 20
"""Times that what was touched meanwhile is copied while others go on writing."""

OnSeries = Callable[[str, int, int, int], None]
"""Told of a table: series copied, series there are, bars copied since it was begun."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A table that is a hypertable now, and the bars counted in it and in the one it replaced."""

    table: str
    bars: int


_PREPARE = """
    CREATE SCHEMA IF NOT EXISTS market_data_move;
    COMMENT ON SCHEMA market_data_move IS 'Bars on their way into hypertables; goes when they are there';
    CREATE TABLE IF NOT EXISTS market_data_move.done (
        relation text, series_id int, PRIMARY KEY (relation, series_id));
    CREATE TABLE IF NOT EXISTS market_data_move.touched (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, relation text, series_id int,
        first_ts timestamptz, last_ts timestamptz);
    CREATE OR REPLACE FUNCTION market_data_move.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog AS $$
    BEGIN
        INSERT INTO market_data_move.touched (relation, series_id, first_ts, last_ts)
        SELECT TG_TABLE_NAME, series_id, min(ts), max(ts) FROM changed GROUP BY series_id;
        RETURN NULL;
    END $$;
    CREATE OR REPLACE FUNCTION market_data_move.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE object_in_use USING MESSAGE = 'its bars are moving: finish db upgrade-storage';
    END $$;
    """
_WATCHED = (
    ("moving_inserted", "INSERT", "NEW"),
    ("moving_updated_from", "UPDATE", "OLD"),
    ("moving_updated_to", "UPDATE", "NEW"),
    ("moving_deleted", "DELETE", "OLD"),
)
_LEFT = """
    WITH RECURSIVE there (id) AS (  -- from the bars, one look at the key each: some may be of no series
        SELECT min(series_id) FROM {table}
        UNION ALL
        SELECT (SELECT min(series_id) FROM {table} WHERE series_id > t.id) FROM there t WHERE t.id IS NOT NULL
    )
    SELECT id FROM there t
    WHERE id IS NOT NULL
        AND NOT EXISTS (SELECT FROM market_data_move.done d WHERE (d.relation, d.series_id) = ($1, t.id))
    """
_DONE = "INSERT INTO market_data_move.done (relation, series_id) VALUES ($1, $2)"
_COPIED = "SELECT count(*) FROM market_data_move.done WHERE relation = $1"
_FORGET = "DELETE FROM market_data_move.touched WHERE relation = $1 AND series_id = $2"
_TOUCHED = """
    SELECT series_id, min(first_ts), max(last_ts), array_agg(id) FROM market_data_move.touched
    WHERE relation = $1 GROUP BY series_id ORDER BY series_id
    """
_TAKEN = "DELETE FROM market_data_move.touched WHERE id = ANY($1)"


async def upgrade_storage(
    database: Database, layout: Layout, on_series: OnSeries | None = None
) -> list[Moved]:
    """Move what lies in plain tables into hypertables; return what was moved.

    Raises:
        StorageError: the server has no TimescaleDB, something depends on the tables themselves, or they could
            not change places.

    """
    storage = await arrange(database, layout)
    if storage.home is Home.PLAIN:
        raise StorageError(
            "this server does not offer TimescaleDB: install its package, put timescaledb into "
            "shared_preload_libraries, restart the server, and let an administrator run "
            "CREATE EXTENSION timescaledb in this database"
        )
    raw, holder = await database.connect(), await database.connect()
    try:
        if not await raw.fetchval("SELECT pg_try_advisory_lock($1)", MOVE_LOCK):
            raise StorageError("another process changes the storage of this database: wait until it is done")
        plain = (await read_storage(raw)).plain_tables
        moved = [await _Move(raw, holder, table).run(on_series) for table in plain]
        await raw.execute("DROP SCHEMA IF EXISTS market_data_move CASCADE")
    finally:
        await holder.close()
        await raw.close()
    await arrange(database, layout)
    await refresh_aggregates(database)
    return moved


class _Move:
    """Moves one table."""

    def __init__(self, raw: Raw, holder: Raw, table: str) -> None:
        self._raw = raw
        self._holder = holder
        self._table = table
        self._into = f"market_data_move.{table}"
        self._bars = 0

    async def run(self, on_series: OnSeries | None) -> Moved:
        await require_replaceable(self._raw, self._table)
        await self._prepare()
        await self._copy_all(on_series)
        for _ in range(_ROUNDS):
            async with self._raw.transaction(isolation="repeatable_read"):
                if not await self._copy_touched():
                    break
        return Moved(self._table, await self._finish())

    async def _prepare(self) -> None:
        """Make the new table and watch the old one; what an interrupted move made is kept."""
        async with self._raw.transaction():
            await self._raw.execute(_PREPARE)
            if await self._raw.fetchval("SELECT to_regclass($1)", self._into) is None:
                await self._raw.execute(f"CREATE TABLE {self._into} (LIKE {self._table} INCLUDING ALL)")
                await make_hypertable(self._raw, self._table, self._into)
            for name, event, which in _WATCHED:
                await self._raw.execute(
                    f"CREATE OR REPLACE TRIGGER {name} AFTER {event} ON {self._table} "
                    f"REFERENCING {which} TABLE AS changed "
                    "FOR EACH STATEMENT EXECUTE FUNCTION market_data_move.note()"
                )
            await self._raw.execute(
                f"CREATE OR REPLACE TRIGGER moving BEFORE TRUNCATE ON {self._table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION market_data_move.refuse()"
            )

    async def _copy_all(self, on_series: OnSeries | None) -> None:
        """Copy every series that was not yet, each in a transaction of its own, in the order of its bars."""
        left = [row[0] for row in await self._raw.fetch(_LEFT.format(table=self._table), self._table)]
        done = await self._raw.fetchval(_COPIED, self._table)
        total = done + len(left)
        for number, series_id in enumerate(left, done + 1):
            async with self._raw.transaction(isolation="repeatable_read"):
                await self._raw.execute(_FORGET, self._table, series_id)  # what it sees of it, it copies
                # A series that came during an interrupted move was copied as far as it was touched.
                await self._raw.execute(f"DELETE FROM {self._into} WHERE series_id = $1", series_id)  # noqa: S608 # our name
                self._bars += await self._copy(series_id)
                await self._raw.execute(_DONE, self._table, series_id)
            if on_series is not None:
                on_series(self._table, number, total, self._bars)

    async def _copy(self, series_id: int, where: str = "", *span: object) -> int:
        found = f"SELECT * FROM {self._table} WHERE series_id = $1 {where} ORDER BY ts"  # noqa: S608 # our names
        status = await self._raw.execute(f"INSERT INTO {self._into} {found}", series_id, *span)
        return int(status.split()[-1])

    async def _copy_touched(self) -> int:
        """Copy again what this transaction sees to have been written meanwhile; return in how many series."""
        touched = await self._raw.fetch(_TOUCHED, self._table)
        for series_id, first, last, ids in touched:
            where = "AND ts BETWEEN $2 AND $3"
            taken = f"DELETE FROM {self._into} WHERE series_id = $1 {where}"  # noqa: S608 # our names
            await self._raw.execute(taken, series_id, first, last)
            await self._copy(series_id, where, first, last)
            await self._raw.execute(_TAKEN, ids)
        return len(touched)

    async def _finish(self) -> int:
        """Copy the last of it and change places, as soon as nobody else is at work on the table."""
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(_BETWEEN_SECONDS)
            try:
                async with self._holder.transaction():
                    await self._holder.execute("SET LOCAL lock_timeout = '2s'")
                    await self._holder.execute(f"LOCK TABLE {self._table} IN SHARE ROW EXCLUSIVE MODE")
                    # Committed before: a snapshot of one who waits for the exchange must have all of it.
                    async with self._raw.transaction():
                        await self._copy_touched()
                    bars = await self._count()
                    await change_places(self._holder, self._table, self._into)
                    return bars
            except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
                continue
        raise StorageError(
            f"{self._table} was in use for so long that its copy could not take its place. Nothing is lost: "
            "run market-data db upgrade-storage again when less is going on"
        )

    async def _count(self) -> int:
        """Count both tables, series by series."""
        counts = []
        for relation in (self._table, self._into):
            query = f"SELECT series_id, count(*) FROM {relation} GROUP BY series_id"  # noqa: S608 # our names
            counts.append({row[0]: row[1] for row in await self._raw.fetch(query)})
        before, after = counts
        if before != after:
            raise StorageError(
                f"{self._table} has {sum(before.values())} bars and its copy {sum(after.values())}: it stays "
                "as it is. Drop the schema market_data_move, and begin again"
            )
        return sum(after.values())
