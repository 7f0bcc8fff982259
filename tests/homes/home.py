"""A home, and those of a run: each starts when a test first needs it, and runs to the end."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import asyncpg

from tests.homes import plain, timescale_apache, timescale_full
from tests.homes.unavailable import Unavailable
from tests.support.database import new_database

EDITIONS = {"apache": "Apache edition", "timescale": "full edition"}

Server = Callable[[Path], AbstractContextManager[str]]
"""Runs a server, with its data in a folder, and gives its address; raises `Unavailable` where it cannot."""

SERVERS: Mapping[str, Server] = {
    "plain": plain.server,
    "timescale-apache": timescale_apache.server,
    "timescale-full": timescale_full.server,
}


@dataclass(frozen=True, slots=True)
class Home:
    """A server that runs; ``version`` is what it says of itself."""

    name: str
    url: str
    version: str


class Homes:
    """The homes of one process; the servers behind them may be shared with others."""

    def __init__(self, folder: Path, servers: Mapping[str, Server] = SERVERS) -> None:
        self._folder = folder
        self._servers = servers
        self._running = ExitStack()
        self._known: dict[str, Home | Unavailable] = {}

    async def get(self, name: str) -> Home:
        """Return a home, started where it does not run yet; `Unavailable` says why it cannot be had."""
        if name not in self._known:
            self._known[name] = await self._start(name)
        known = self._known[name]
        if isinstance(known, Unavailable):
            raise Unavailable(str(known))
        return known

    async def _start(self, name: str) -> Home | Unavailable:
        try:
            url = self._running.enter_context(self._servers[name](self._folder / name))
        except Unavailable as reason:
            return reason
        return Home(name, url, await version(url))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._running.close()


async def version(server_url: str) -> str:
    """Ask a server what it is; in a scratch database, as only the loaded extension knows its edition."""
    async with new_database(server_url) as url:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        try:
            postgres = f"PostgreSQL {(await connection.fetchval('SHOW server_version')).split()[0]}"
            if await connection.fetchval("SELECT current_setting('timescaledb.disable_load', true)") is None:
                return postgres
            await connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
            edition = EDITIONS[await connection.fetchval("SHOW timescaledb.license")]
            number = await connection.fetchval(
                "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"
            )
            return f"{postgres}, TimescaleDB {number} ({edition})"
        finally:
            await connection.close()
