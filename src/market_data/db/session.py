"""Connections: one engine and pool per process, shared by ORM sessions and the COPY path of bars."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TypeAlias

import asyncpg
from sqlalchemy import URL, AdaptedConnection, event, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine

from market_data.core.exceptions import ConcurrentChange, DatabaseUnavailable

CONNECT_SECONDS = 10.0
POOL_SIZE = 20
POOL_OVERFLOW = 20
CARELESS = 4
"""Connections for what needs no disk; a statement takes a fraction of a millisecond."""
READERS = 20
"""Streams of bars at the same time; more wait for their turn."""

Session: TypeAlias = AsyncSession
"""One unit of work."""

Raw: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
"""The driver's own connection, for COPY."""


def engine_url(url: str) -> URL:
    """Turn any usual spelling of a PostgreSQL address into the one the engine takes."""
    parsed = make_url(url.replace("postgres://", "postgresql://", 1)).set(drivername="postgresql+asyncpg")
    if (mode := parsed.query.get("sslmode")) is not None:  # libpq's word for what asyncpg calls ssl
        parsed = parsed.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})
    return parsed


def libpq_url(url: str) -> str:
    """Turn an address into what the driver itself and programs of libpq read; it holds the password."""
    parsed = engine_url(url).set(drivername="postgresql")
    if (mode := parsed.query.get("ssl")) is not None:
        parsed = parsed.difference_update_query(["ssl"]).update_query_dict({"sslmode": mode})
    return parsed.render_as_string(hide_password=False)


# Sent with the greeting: a pooler such as PgBouncer takes these two there, and refuses a client with others.
# What else a session is to have is set once it stands.
_GREETING = {"application_name": "market-data", "timezone": "UTC"}
_SETTINGS = {"jit": "off"}
_READER_SETTINGS = _SETTINGS | {
    "default_transaction_read_only": "on",
    # Bars are wanted in the order of their key, at once and in constant memory: the planner shall walk the
    # key, and never gather a range to sort it, which delays the first row and spills to disk.
    "enable_bitmapscan": "off",
    "enable_seqscan": "off",
    "enable_sort": "off",
    # What is asked for is few and named: joins shall look it up, and never read a table whole to hash it.
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "max_parallel_workers_per_gather": "0",
    "plan_cache_mode": "force_generic_plan",  # of so few statements, all plans are good ones
}


# What is lost of it when the server crashes is no loss.
_CARELESS_SETTINGS = _SETTINGS | {"synchronous_commit": "off"}

_SET = "SELECT set_config(name, value, false) FROM unnest($1::text[], $2::text[]) AS given (name, value)"


async def _set(connection: Raw, settings: Mapping[str, str]) -> None:
    try:
        await connection.execute(_SET, list(settings), list(settings.values()))
    except BaseException:  # cancelled as well: no pool knows this connection yet, so none would close it
        connection.terminate()
        raise


async def _leave_as_is(_: Raw) -> None:
    """Who uses these changes no session state, so none has to be reset between uses."""


def _set_up(connection: AdaptedConnection, _: object) -> None:
    connection.run_async(partial(_set, settings=_SETTINGS))


class _Pool:
    """Connections of the driver with settings of their own, made when they are first asked for."""

    def __init__(self, url: str, size: int, settings: Mapping[str, str]) -> None:
        self._url = url
        self._size = size
        self._settings = settings
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._creating = asyncio.Lock()

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Raw]:
        async with self._creating:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    libpq_url(self._url),
                    min_size=0,
                    max_size=self._size,
                    timeout=CONNECT_SECONDS,
                    server_settings=_GREETING,
                    init=partial(_set, settings=self._settings),
                    reset=_leave_as_is,
                )
        async with self._pool.acquire() as connection:
            yield connection

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()
            self._pool = None


class Database:
    """A PostgreSQL database and the process's connections to it."""

    def __init__(self, url: str, *, echo: bool = False) -> None:
        self.url = url
        self._readers = _Pool(url, READERS, _READER_SETTINGS)
        self._careless = _Pool(url, CARELESS, _CARELESS_SETTINGS)
        self.engine = create_async_engine(
            engine_url(url),
            echo=echo,
            pool_size=POOL_SIZE,
            max_overflow=POOL_OVERFLOW,
            pool_pre_ping=True,
            async_creator=self._greet,
        )
        event.listen(self.engine.sync_engine, "connect", _set_up)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """Open one unit of work: committed at the end, rolled back on any error.

        Raises:
            DatabaseUnavailable: the server does not answer, or stopped answering; nothing was committed.
            ConcurrentChange: another transaction was in the way; repeating is safe.

        """
        with in_our_words():
            async with AsyncSession(self.engine, expire_on_commit=False) as session, session.begin():
                yield session

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """Check out one connection, for reading.

        Raises:
            DatabaseUnavailable: the server does not answer, or stopped answering.

        """
        with in_our_words():
            async with self.engine.connect() as connection:
                yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Raw]:
        """Check out a connection that can only read, tuned for streaming bars; every statement stands alone.

        Raises:
            DatabaseUnavailable: the server does not answer, or stopped answering.

        """
        with in_our_words():
            async with self._readers.acquire() as connection:
                yield connection

    @asynccontextmanager
    async def careless(self) -> AsyncIterator[Raw]:
        """Check out a connection whose every statement stands alone, and does not wait for the disk.

        For what is written often, and may be lost with the server; one statement is one round trip.

        Raises:
            DatabaseUnavailable: the server does not answer, or stopped answering.

        """
        with in_our_words():
            async with self._careless.acquire() as connection:
                yield connection

    async def connect(self, name: str = _GREETING["application_name"]) -> Raw:
        """Open a connection of its own, for work that outlasts transactions; the caller closes it.

        `name` is what `pg_stat_activity` calls it.

        Raises:
            DatabaseUnavailable: the server does not answer.

        """
        with in_our_words():
            connection = await self._greet()
            await _set(connection, _SETTINGS | {"application_name": name})
            return connection

    async def _greet(self) -> Raw:
        connection: Raw = await asyncpg.connect(
            libpq_url(self.url), timeout=CONNECT_SECONDS, server_settings=_GREETING
        )
        return connection

    async def check(self) -> None:
        """Ask the server for an answer.

        Raises:
            DatabaseUnavailable: it gave none.

        """
        async with self.connection() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close every pooled connection."""
        await self._readers.close()
        await self._careless.close()
        await self.engine.dispose()


_GONE = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shutting down, starting up
    asyncpg.InsufficientResourcesError,  # too many connections, disk full
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InterfaceError,
    ConnectionError,
    TimeoutError,
    socket.gaierror,
    PoolTimeout,
)
_IN_THE_WAY = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
    # What was there, or was not, when services looked a moment ago:
    asyncpg.ForeignKeyViolationError,
    asyncpg.RestrictViolationError,
)


@contextmanager
def in_our_words() -> Iterator[None]:
    """Say what drivers and pools raise in the errors of this program; leave everything else."""
    try:
        yield
    except (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, PoolTimeout) as error:
        cause = error.orig.__cause__ if isinstance(error, DBAPIError) and error.orig else error
        if isinstance(cause, _GONE) and not isinstance(cause, asyncpg.QueryCanceledError):
            reason = str(cause) or type(cause).__name__
            raise DatabaseUnavailable(f"the database does not answer ({reason})") from error
        if isinstance(cause, _IN_THE_WAY):
            raise ConcurrentChange("another writer was in the way; nothing was stored, repeat it") from error
        raise


async def raw_connection(connection: AsyncConnection) -> Raw:
    """Return the driver's connection beneath, with the transaction begun.

    SQLAlchemy begins a transaction with the first statement it sees; COPY goes past it, so one is sent.
    """
    await connection.execute(text("SELECT 1"))
    fairy = await connection.get_raw_connection()
    driver: Raw = fairy.driver_connection
    return driver
