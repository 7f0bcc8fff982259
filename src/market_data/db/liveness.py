"""Show other processes that this one lives: an advisory lock the server drops when the process dies."""

import asyncio
import secrets

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from market_data.core.exceptions import DatabaseUnavailable
from market_data.db.session import Database, in_our_words

OWNER_LOCKS = 0x6D64_0002
"""First key of these locks ("md", purpose 2); the second is the owner's number."""


class Liveness:
    """Holds the lock from its first use until it is closed; takes it again after a lost connection."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: AsyncConnection | None = None
        self._guard = asyncio.Lock()
        self.owner = secrets.randbelow(2**31 - 1) + 1
        """Number of this process; stands in what it is working on."""

    async def assert_alive(self) -> int:
        """Make sure that the lock is held, and return the owner's number.

        Raises:
            DatabaseUnavailable: the server does not answer.

        """
        async with self._guard:
            try:
                await self._take()
            except DatabaseUnavailable:
                # A connection that broke since it was used last says so only when it is used again.
                await self._forget()
                await self._take()
        return self.owner

    async def close(self) -> None:
        """Give the lock back."""
        await self._forget()

    async def _take(self) -> None:
        with in_our_words():
            if self._connection is None:
                connection = await self._database.engine.connect()
                self._connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
            # Locks of one session stack and do no harm; after a reconnect this is what takes it anew.
            lock = text("SELECT pg_try_advisory_lock(:locks, :owner)")
            await self._connection.execute(lock, {"locks": OWNER_LOCKS, "owner": self.owner})

    async def _forget(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.invalidate()  # ends the session, and with it the lock
            await connection.close()
