"""Bring a database to this program's schema, one process at a time, and tell how far it is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from market_data.core.config import Settings, project_dir
from market_data.core.exceptions import SchemaMismatch
from market_data.db.aggregates import drop_aggregates
from market_data.db.base import Base
from market_data.db.layout import Layout, arrange
from market_data.db.session import Database, raw_connection

MIGRATION_LOCK = 0x6D64_0001
"""Advisory lock held while migrating ("md", purpose 1)."""
LOCK_TIMEOUT = "30s"
"""How long a migration waits for a table in use before it gives up, changing nothing."""


@dataclass(frozen=True, slots=True)
class Revision:
    """Where a database stands: `current` is None when it is empty."""

    current: str | None
    head: str

    @property
    def is_head(self) -> bool:
        """Whether nothing is left to do."""
        return self.current == self.head


def script_location() -> Path:
    """Find the migrations: in the checkout, or inside the installed package."""
    packaged = Path(__file__).parents[1] / "_alembic"
    return packaged if packaged.is_dir() else project_dir() / "alembic"


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(script_location()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _head() -> str:
    config = Config()
    config.set_main_option("script_location", str(script_location()).replace("%", "%%"))
    head = ScriptDirectory.from_config(config).get_current_head()
    if head is None:
        raise SchemaMismatch(f"no migrations in {script_location()}; reinstall the program")
    return head


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _refuse_newer(connection: Connection) -> None:
    current = _current(connection)
    known = {s.revision for s in ScriptDirectory.from_config(_config(connection)).walk_revisions()}
    if current is not None and current not in known:
        raise SchemaMismatch(
            f"the database is at revision {current}, which this program does not know: it was migrated by a "
            "newer version. Upgrade the program, or point DATABASE_URL or DATA_DIR elsewhere"
        )


def _exclusively(work: Callable[[Connection], None]) -> Callable[[Connection], None]:
    def locked(connection: Connection) -> None:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        connection.execute(text("SELECT set_config('lock_timeout', :time, true)"), {"time": LOCK_TIMEOUT})
        _refuse_newer(connection)
        work(connection)

    return locked


async def revision(database: Database) -> Revision:
    """Tell where the database stands."""
    async with database.connection() as connection:
        return Revision(await connection.run_sync(_current), _head())


async def upgrade(database: Database, to: str = "head", layout: Layout | None = None) -> None:
    """Migrate up, and to the head lay the bars out as the server can.

    Safe to call from several processes at once: one works, the others wait and find it done.

    Raises:
        SchemaMismatch: the database was migrated by a newer version of this program.

    """
    async with database.engine.begin() as connection:
        await connection.run_sync(_exclusively(lambda c: command.upgrade(_config(c), to)))
    if to == "head":
        await arrange(database, layout or Layout.of(Settings.model_construct()))


async def downgrade(database: Database, to: str) -> None:
    """Migrate down; `base` empties the database."""
    async with database.engine.begin() as connection:
        await drop_aggregates(await raw_connection(connection))
        await connection.run_sync(_exclusively(lambda c: command.downgrade(_config(c), to)))


async def differences(database: Database) -> list[str]:
    """Tell where models and migrated tables differ, in Alembic's words; empty when they agree."""

    def compare(connection: Connection) -> list[str]:
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        return [str(difference) for difference in compare_metadata(context, Base.metadata)]

    async with database.connection() as connection:
        return await connection.run_sync(compare)


async def require_head(database: Database) -> None:
    """Refuse to work on another schema than this program's.

    Raises:
        SchemaMismatch: it is older, newer or empty.

    """
    async with database.connection() as connection:
        await connection.run_sync(_refuse_newer)
    found = await revision(database)
    if not found.is_head:
        raise SchemaMismatch(
            f"the database is at revision {found.current or 'none'}, this program needs {found.head}. "
            "Run: market-data db upgrade"
        )
