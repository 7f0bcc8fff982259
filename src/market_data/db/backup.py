"""Backups by PostgreSQL's own programs, with what TimescaleDB needs around them; bars are counted."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import asyncpg

from market_data.core.exceptions import StorageError
from market_data.db.embedded.binaries import find_client
from market_data.db.session import Database, Raw, engine_url

_ELSEWHERE = {"PGSERVICE", "PGSERVICEFILE", "PGHOSTADDR"}

OnBytes = Callable[[int], None]
"""Told how large a backup is by now."""

_EVERY_SECONDS = 1.0
_IS_EMPTY = """
    SELECT NOT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_depend d ON d.objid = c.oid AND d.deptype = 'e'
        WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'v', 'p') AND d.objid IS NULL)
    """
_IS_OFFERED = "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')"
_TOLD = "SELECT coalesce(sum(bar_count), 0)::bigint FROM series"
_COUNTED = """
    SELECT (SELECT count(*) FROM market_price_intraday) + (SELECT count(*) FROM market_price_daily)
    """
_ROLE = """
    DO $$ BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'market_data_reader') THEN
            CREATE ROLE market_data_reader NOLOGIN;
        END IF;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
    END $$
    """


async def backup(database: Database, target: Path, on_bytes: OnBytes | None = None) -> int:
    """Write everything, as of one moment, into a new file; return the bars in it.

    Raises:
        StorageError: the file is there already, no fitting pg_dump is, or it failed.

    """
    _require_new(target)
    partial = target.with_name(f"{target.name}.partial")
    raw = await database.connect()
    try:
        async with raw.transaction(isolation="repeatable_read", readonly=True):
            snapshot = await raw.fetchval("SELECT pg_export_snapshot()")
            bars: int = await raw.fetchval(_TOLD)
            options = ["--format=custom", f"--file={partial}", f"--snapshot={snapshot}"]
            await _run(database, raw, "pg_dump", options, lambda: _tell(partial, on_bytes))
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
        await raw.close()
    return bars


def _require_new(target: Path) -> None:
    if target.exists():
        raise StorageError(f"{target} exists already: name another file, or remove it")
    if not target.parent.is_dir():
        raise StorageError(f"there is no folder {target.parent}: make it first")


def _tell(partial: Path, on_bytes: OnBytes | None) -> None:
    if on_bytes is not None and partial.exists():
        on_bytes(partial.stat().st_size)


async def restore(database: Database, source: Path) -> int:
    """Fill an empty database from a backup; return the bars counted in it.

    Raises:
        StorageError: the database is not empty, the server lacks what the backup needs, or it failed.

    """
    raw = await database.connect()
    try:
        if not await raw.fetchval(_IS_EMPTY):
            raise StorageError("this database is not empty: restore into a new one (CREATE DATABASE ...)")
        listed = await _run(database, raw, "pg_restore", ["--list", str(source)])
        await _make_role(raw)
        options = ["--single-transaction", "--exit-on-error", "--no-owner", "--dbname=", str(source)]
        async with _restoring(raw) if " EXTENSION - timescaledb" in listed else nullcontext():
            await _run(database, raw, "pg_restore", options)
        told, counted = await raw.fetchval(_TOLD), await raw.fetchval(_COUNTED)
        if told != counted:
            raise StorageError(
                f"the backup tells of {told} bars, {counted} arrived: do not use this database"
            )
        await raw.execute("ANALYZE")
        return int(counted)
    finally:
        await raw.close()


async def _make_role(raw: Raw) -> None:
    """Make the role that the backup grants the views to; those who may not create one may have it already."""
    try:
        await raw.execute(_ROLE)
    except asyncpg.InsufficientPrivilegeError:
        raise StorageError(
            "the role of DATABASE_URL may not create market_data_reader, which the backup grants views to: "
            "have an administrator CREATE ROLE market_data_reader NOLOGIN"
        ) from None


@asynccontextmanager
async def _restoring(raw: Raw) -> AsyncIterator[None]:
    """Let TimescaleDB's tables be written as they are."""
    if not await raw.fetchval(_IS_OFFERED):
        raise StorageError(
            "this backup holds TimescaleDB's tables: restore it on a server that has TimescaleDB"
        )
    try:
        await raw.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        await raw.fetchval("SELECT timescaledb_pre_restore()")
    except asyncpg.InsufficientPrivilegeError:
        raise StorageError(
            "TimescaleDB lets only a superuser restore its tables: name one in DATABASE_URL for this command"
        ) from None
    try:
        yield
    finally:
        await raw.fetchval("SELECT timescaledb_post_restore()")


async def _run(
    database: Database, raw: Raw, program: str, options: list[str], tick: Callable[[], None] | None = None
) -> str:
    """Run a client program that fits the server; the address is in its environment."""
    major = raw.get_server_version().major
    found = await asyncio.to_thread(find_client, program, major)
    if found is None:
        raise StorageError(
            f"no {program} of PostgreSQL {major} or newer is here: install postgresql-client-{major}"
        )
    process = await asyncio.create_subprocess_exec(
        found,
        *options,
        env={**_environment(), **_address(database.url)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    ending = asyncio.create_task(process.communicate())
    try:
        while not (await asyncio.wait({ending}, timeout=_EVERY_SECONDS))[0]:
            if tick is not None:
                tick()
    finally:
        if not ending.done():
            process.terminate()
            await ending
    out, err = ending.result()
    if process.returncode:
        said = " ".join(err.decode(errors="replace").split())
        raise StorageError(f"{program} failed: {said[:1000]}")
    return out.decode(errors="replace")


def _environment() -> Mapping[str, str]:
    """Return this process's own, without what would lead libpq to another server than the address names."""
    return {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}


def _address(url: str) -> Mapping[str, str]:
    """Return a database's address as libpq's variables: what others see of a process shows no password."""
    parsed = engine_url(url)
    query = {name: value for name, value in parsed.query.items() if isinstance(value, str)}
    told = {
        "PGHOST": parsed.host or query.get("host"),
        "PGPORT": str(parsed.port) if parsed.port else query.get("port"),
        "PGUSER": parsed.username,
        "PGPASSWORD": parsed.password,
        "PGDATABASE": parsed.database,
        "PGSSLMODE": query.get("ssl"),
        "PGSSLROOTCERT": query.get("sslrootcert"),
        "PGSSLCERT": query.get("sslcert"),
        "PGSSLKEY": query.get("sslkey"),
    }
    return {name: value for name, value in told.items() if value}
