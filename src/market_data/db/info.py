"""What a database is and holds, for people."""

from sqlalchemy import text

from market_data.db.migrations import revision
from market_data.db.session import Database

_SERVER = text(
    "SELECT current_setting('server_version'), current_database(), "
    "pg_size_pretty(pg_database_size(current_database())), "
    "(SELECT extversion FROM pg_extension WHERE extname = 'timescaledb')"
)
_STORED = text(
    "SELECT (SELECT count(*) FROM instrument), (SELECT count(*) FROM series WHERE bar_count > 0), "
    "(SELECT coalesce(sum(bar_count), 0)::bigint FROM series)"
)


async def describe(database: Database) -> dict[str, object]:
    """Return the server's version, the schema's revision, and counts where the schema is there."""
    found = await revision(database)
    async with database.connection() as connection:
        row = (await connection.execute(_SERVER)).one()
        described: dict[str, object] = {
            "server": f"PostgreSQL {row[0]}",
            "timescaledb": row[3] or "not installed",
            "database": row[1],
            "size": row[2],
            "revision": found.current or "empty",
            "head": found.head,
        }
        if found.current is not None:
            stored = (await connection.execute(_STORED)).one()
            described |= dict(zip(("instruments", "series", "bars"), stored, strict=True))
    return described
