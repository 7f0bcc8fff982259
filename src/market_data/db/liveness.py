"""Show other processes that this one lives: an advisory lock the server drops when the process dies."""

import asyncio
import secrets

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from market_data.db.session import Database

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
        """Make sure that the lock is held, and return the owner's number."""
        async with self._guard:
            if self._connection is None or self._connection.closed or self._connection.invalidated:
                connection = await self._database.engine.connect()
                self._connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
            # Locks of one session stack and do no harm; after a reconnect this is what takes it anew.
            lock = text("SELECT pg_try_advisory_lock(:locks, :owner)")
            await self._connection.execute(lock, {"locks": OWNER_LOCKS, "owner": self.owner})
        return self.owner

    async def close(self) -> None:
        """Give the lock back."""
        if self._connection is not None:
            await self._connection.invalidate()  # ends the session, and with it the lock
            await self._connection.close()
            self._connection = None
