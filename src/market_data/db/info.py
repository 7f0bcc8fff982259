"""What a database is and holds, for people."""

from sqlalchemy import text

from market_data.db.migrations import revision
from market_data.db.session import Database, raw_connection
from market_data.db.storage import read_storage

_SERVER = text(
    "SELECT current_setting('server_version'), current_database(), "
    "pg_size_pretty(pg_database_size(current_database()))"
)
_STORED = text(
    "SELECT (SELECT count(*) FROM instrument), (SELECT count(*) FROM series WHERE bar_count > 0), "
    "(SELECT coalesce(sum(bar_count), 0)::bigint FROM series)"
)


async def describe(database: Database) -> dict[str, object]:
    """Return the server's version, the schema's revision, and counts where the schema is there."""
    found = await revision(database)
    async with database.connection() as connection:
        storage = await read_storage(await raw_connection(connection))
        row = (await connection.execute(_SERVER)).one()
        described: dict[str, object] = {
            "server": f"PostgreSQL {row[0]}",
            "storage": str(storage.home),
            "timescaledb": storage.version or "not installed",
            "hypertables": sorted(storage.hypertables),
            "database": row[1],
            "size": row[2],
            "revision": found.current or "empty",
            "head": found.head,
        }
        if found.current is not None:
            stored = (await connection.execute(_STORED)).one()
            described |= dict(zip(("instruments", "series", "bars"), stored, strict=True))
    return described
