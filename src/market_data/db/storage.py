"""How bars lie on disk: in plain tables, or in hypertables where the server has TimescaleDB.

Migrations make the same schema everywhere. What a server offers is found out afterwards, and used where that
costs nothing: empty tables become hypertables, full ones stay until `market-data db upgrade-storage`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from market_data.core.config import Settings
from market_data.db.session import Database

CHUNKS = {"market_price_intraday": timedelta(days=30), "market_price_daily": timedelta(days=5 * 365)}
"""Time a chunk of each table spans: planning, and the search for newest bars, grow with their number."""
STORAGE_LOCK = 0x6D64_0004
"""Advisory lock held while the layout changes ("md", purpose 4)."""


_log = structlog.get_logger(__name__)


class Home(StrEnum):
    """What kind of server the bars live in."""

    PLAIN = "plain"
    APACHE = "timescaledb-apache"
    FULL = "timescaledb"


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


@dataclass(frozen=True, slots=True)
class Storage:
    """What the server is, and how the bars lie in it."""

    home: Home
    version: str | None
    """That of the extension, where it is installed."""
    hypertables: frozenset[str] = frozenset()
    """Tables of bars that are hypertables."""

    @property
    def plain_tables(self) -> list[str]:
        """Tables that could be hypertables here, and are not."""
        return [] if self.home is Home.PLAIN else [one for one in CHUNKS if one not in self.hypertables]


_INSTALLED = text(
    "SELECT (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'), "
    "current_setting('timescaledb.license', true)"
)
_IS_OFFERED = text(
    "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb') "
    "AND current_setting('timescaledb.max_background_workers', true) IS NOT NULL"  # its loader is preloaded
)
_HYPERTABLES = text(
    "SELECT hypertable_name FROM timescaledb_information.hypertables "
    "WHERE hypertable_schema = current_schema() AND hypertable_name = ANY(:tables)"
)


async def read_storage(connection: AsyncConnection) -> Storage:
    """Tell what the server is and how the bars lie in it."""
    version, license_ = (await connection.execute(_INSTALLED)).one()
    if version is None:
        return Storage(Home.PLAIN, None)
    found = await connection.execute(_HYPERTABLES, {"tables": list(CHUNKS)})
    home = Home.FULL if license_ == "timescale" else Home.APACHE
    return Storage(home, version, frozenset(found.scalars()))


_HAS_BARS = {table: f"SELECT EXISTS (SELECT FROM {table})" for table in CHUNKS}  # noqa: S608 # our own names


async def arrange(database: Database, layout: Layout) -> Storage:
    """Lay bars out as well as the server can without moving any; safe to repeat, and at once."""
    async with database.engine.begin() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": STORAGE_LOCK})
        storage = await _with_extension(connection)
        for table in storage.plain_tables:
            if not (await connection.execute(text(_HAS_BARS[table]))).scalar_one():
                await make_hypertable(connection, table)
        storage = await read_storage(connection)
        if storage.home is Home.FULL:
            for table in sorted(storage.hypertables):
                await _set_columnstore(connection, table, layout.columnstore_after.get(table))
        return storage


async def _with_extension(connection: AsyncConnection) -> Storage:
    """Install the extension where the server has loaded it and lets us."""
    storage = await read_storage(connection)
    if storage.home is Home.PLAIN and (await connection.execute(_IS_OFFERED)).scalar_one():
        try:
            async with connection.begin_nested():
                await connection.execute(text("CREATE EXTENSION timescaledb"))
        except DBAPIError as error:
            _log.warning(
                "TimescaleDB is there, but may not be installed: ask an administrator", error=str(error.orig)
            )
        storage = await read_storage(connection)
    return storage


async def make_hypertable(connection: AsyncConnection, table: str, relation: str | None = None) -> None:
    """Turn an empty table of bars, or one like it, into a hypertable; its key is the only index it needs."""
    await connection.execute(
        text(
            "SELECT create_hypertable(CAST(CAST(:relation AS text) AS regclass), "
            "by_range('ts', CAST(:span AS interval)), create_default_indexes => false)"
        ),
        {"relation": relation or table, "span": CHUNKS[table]},
    )


_IS_COLUMNSTORE = text(
    "SELECT compression_enabled FROM timescaledb_information.hypertables "
    "WHERE hypertable_schema = current_schema() AND hypertable_name = :table"
)
_POLICY_AGE = text(
    "SELECT CAST(config ->> 'compress_after' AS interval) FROM timescaledb_information.jobs "
    "WHERE proc_name = 'policy_compression' AND hypertable_schema = current_schema() "
    "AND hypertable_name = :table"
)


async def _set_columnstore(connection: AsyncConnection, table: str, after: timedelta | None) -> None:
    """Let chunks become columns at an age; without one, those that are columns stay so."""
    wanted = {"table": table}
    if after is not None and not (await connection.execute(_IS_COLUMNSTORE, wanted)).scalar_one():
        await connection.execute(
            text(
                f"ALTER TABLE {table} SET (timescaledb.enable_columnstore, "
                "timescaledb.segmentby = 'series_id', timescaledb.orderby = 'ts')"
            )
        )
    set_to = (await connection.execute(_POLICY_AGE, wanted)).scalar_one_or_none()
    if set_to == after:
        return
    if set_to is not None:
        await connection.execute(text(f"CALL remove_columnstore_policy('{table}', if_exists => true)"))
    if after is not None:
        await connection.execute(
            text(f"CALL add_columnstore_policy('{table}', after => CAST(:after AS interval))"),
            {"after": after},
        )
