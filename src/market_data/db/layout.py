"""Lays bars out as well as a server can: migrations make the same schema everywhere, this does the rest.

What the server offers is found out after each migration, and used where that costs nothing: empty tables
become hypertables, full ones stay until `market-data db upgrade-storage`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import asyncpg
import structlog

from market_data.core.config import Settings
from market_data.db.aggregates import make_aggregates
from market_data.db.session import Database, Raw, raw_connection
from market_data.db.storage import CHUNKS, Home, Storage, make_hypertable, read_storage

STORAGE_LOCK = 0x6D64_0004
"""Advisory lock held while the layout changes ("md", purpose 4)."""


_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Layout:
    """What is wished where the server can do it."""

    columnstore_after: Mapping[str, timedelta] = field(default_factory=dict)
    """Age at which the chunks of a table become columns; tables not named keep rows."""

    @classmethod
    def of(cls, settings: Settings) -> "Layout":
        """Return what the settings say."""
        intraday, daily = CHUNKS
        days = {
            intraday: settings.columnstore_after_days_intraday,
            daily: settings.columnstore_after_days_daily,
        }
        return cls({table: timedelta(days=count) for table, count in days.items() if count})


_IS_OFFERED = """
    SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')
        AND current_setting('timescaledb.max_background_workers', true) IS NOT NULL  -- it is preloaded
    """
_IS_COLUMNSTORE = """
    SELECT compression_enabled FROM timescaledb_information.hypertables
    WHERE hypertable_schema = current_schema() AND hypertable_name = $1
    """
_POLICY_AGE = """
    SELECT (config ->> 'compress_after')::interval FROM timescaledb_information.jobs
    WHERE proc_name = 'policy_compression' AND hypertable_schema = current_schema() AND hypertable_name = $1
    """
_DROP_POLICY = "CALL remove_columnstore_policy($1::text::regclass, if_exists => true)"
_ADD_POLICY = "CALL add_columnstore_policy($1::text::regclass, after => $2::interval)"
_HAS_BARS = {table: f"SELECT EXISTS (SELECT FROM {table})" for table in CHUNKS}  # noqa: S608 # our own names
_UNGUARD = """
    -- With a trigger that is shown the new rows, COPY into a hypertable takes a third longer, and TimescaleDB
    -- (2.29) forgets to note for its aggregates what was written.
    DROP TRIGGER IF EXISTS bars_have_series ON {table}
    """
_ENABLE = """
    ALTER TABLE {table} SET (
        timescaledb.enable_columnstore, timescaledb.segmentby = 'series_id', timescaledb.orderby = 'ts')
    """


async def arrange(database: Database, layout: Layout) -> Storage:
    """Lay bars out as well as the server can without moving any; safe to repeat, and at once."""
    async with database.session() as session:
        raw = await raw_connection(await session.connection())
        await raw.execute("SELECT pg_advisory_xact_lock($1)", STORAGE_LOCK)
        storage = await _with_extension(raw)
        for table in storage.plain_tables:
            if not await raw.fetchval(_HAS_BARS[table]):
                await make_hypertable(raw, table)
        storage = await read_storage(raw)
        for table in sorted(storage.hypertables):
            await raw.execute(_UNGUARD.format(table=table))
        if storage.home is Home.FULL:
            for table in sorted(storage.hypertables):
                await _set_columnstore(raw, table, layout.columnstore_after.get(table))
            if "market_price_intraday" in storage.hypertables:
                await make_aggregates(raw)
        return storage


async def _with_extension(raw: Raw) -> Storage:
    """Install the extension where the server has loaded it and lets us."""
    storage = await read_storage(raw)
    if storage.home is Home.PLAIN and await raw.fetchval(_IS_OFFERED):
        try:
            async with raw.transaction():
                await _create_extension(raw)
        except asyncpg.InsufficientPrivilegeError as error:
            _log.warning("TimescaleDB may not be installed: ask an administrator", error=str(error))
        storage = await read_storage(raw)
    return storage


async def _create_extension(raw: Raw) -> None:
    await raw.execute("CREATE EXTENSION timescaledb")


async def _set_columnstore(raw: Raw, table: str, after: timedelta | None) -> None:
    """Let chunks become columns at an age; without one, those that are columns stay so."""
    if after is not None and not await raw.fetchval(_IS_COLUMNSTORE, table):
        await raw.execute(_ENABLE.format(table=table))
    set_to = await raw.fetchval(_POLICY_AGE, table)
    if set_to == after:
        return
    if set_to is not None:
        await raw.execute(_DROP_POLICY, table)
    if after is not None:
        await raw.execute(_ADD_POLICY, table, after)
