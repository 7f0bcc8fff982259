"""Connections: one engine and pool per process, shared by ORM sessions and the COPY path of bars."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import asyncpg
from sqlalchemy import URL, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine

from market_data.core.exceptions import DatabaseUnavailable

CONNECT_SECONDS = 10.0
POOL_SIZE = 20
POOL_OVERFLOW = 20

Raw: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
"""The driver's own connection, for COPY."""


def engine_url(url: str) -> URL:
    """Turn any usual spelling of a PostgreSQL address into the one the engine takes."""
    parsed = make_url(url.replace("postgres://", "postgresql://", 1)).set(drivername="postgresql+asyncpg")
    if (mode := parsed.query.get("sslmode")) is not None:  # libpq's word for what asyncpg calls ssl
        parsed = parsed.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})
    return parsed


class Database:
    """A PostgreSQL database and the process's connections to it."""

    def __init__(self, url: str, *, echo: bool = False) -> None:
        self.url = url
        connect: dict[str, Any] = {
            "timeout": CONNECT_SECONDS,
            "server_settings": {"application_name": "market-data", "timezone": "UTC", "jit": "off"},
        }
        self.engine = create_async_engine(
            engine_url(url),
            echo=echo,
            pool_size=POOL_SIZE,
            max_overflow=POOL_OVERFLOW,
            pool_pre_ping=True,
            connect_args=connect,
        )

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """Open one unit of work: committed at the end, rolled back on any error."""
        async with AsyncSession(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """Check out one connection with an open transaction, for reading."""
        async with self.engine.connect() as connection:
            yield connection

    async def check(self) -> None:
        """Ask the server for an answer.

        Raises:
            DatabaseUnavailable: it gave none.

        """
        try:
            async with self.engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
        except (OSError, DBAPIError, asyncpg.PostgresError) as error:
            raise DatabaseUnavailable(f"the database does not answer: {error}. Check DATABASE_URL") from error

    async def close(self) -> None:
        """Close every pooled connection."""
        await self.engine.dispose()


async def raw_connection(connection: AsyncConnection) -> Raw:
    """Return the driver's connection beneath, with the transaction begun.

    SQLAlchemy begins a transaction with the first statement it sees; COPY goes past it, so one is sent.
    """
    await connection.execute(text("SELECT 1"))
    fairy = await connection.get_raw_connection()
    driver: Raw = fairy.driver_connection
    return driver
