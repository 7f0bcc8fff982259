"""Where the data lives: the database of `DATABASE_URL`, or the embedded server, started and migrated."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from market_data.core.config import Settings
from market_data.core.logging import hide
from market_data.db.embedded import EmbeddedServer
from market_data.db.layout import Layout
from market_data.db.migrations import require_head, upgrade
from market_data.db.session import Database, engine_url


@asynccontextmanager
async def open_server(settings: Settings) -> AsyncIterator[str]:
    """Give the address of the database server, and keep an embedded one alive meanwhile.

    Raises:
        DatabaseUnavailable: the embedded server cannot be started.

    """
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        hide_password(url)
        yield url
        return
    server = EmbeddedServer(settings.data_dir)
    url = await asyncio.to_thread(server.start)
    hide_password(url)
    try:
        yield url
    finally:
        await asyncio.to_thread(server.stop)


def hide_password(url: str) -> None:
    """Keep the password of a database out of this process's logs."""
    hide(engine_url(url).password or "")


@asynccontextmanager
async def open_home(settings: Settings) -> AsyncIterator[Database]:
    """Give the database, ready to work on. The embedded one is migrated; another one must be already.

    Raises:
        DatabaseUnavailable: it does not answer.
        SchemaMismatch: it is not at this program's schema.

    """
    async with open_server(settings) as url:
        database = Database(url, echo=settings.debug)
        try:
            if settings.database_url is None:
                await upgrade(database, layout=Layout.of(settings))
            else:
                await require_head(database)
            yield database
        finally:
            await database.close()
