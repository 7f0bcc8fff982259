"""A backup brings everything back, on every home, and refuses what would not."""

import asyncio
import secrets

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from market_data.core.config import get_settings
from market_data.core.exceptions import StorageError
from market_data.core.interval import Basis, Interval
from market_data.db import backup, migrations
from market_data.db.session import Database
from market_data.db.storage import Home, read_storage
from market_data.repositories.market_price_writer import SeriesKey
from market_data.services.sealing import SealingService
from tests.support.bars import DAY, START, add_instruments, assert_figures_recount, bars, fetch, upsert
from tests.support.command import invoke

EVERYTHING = {
    "bars": "SELECT * FROM v_price ORDER BY symbol, interval, ts",
    "series": "SELECT * FROM series ORDER BY id",
    "blocks": "SELECT * FROM price_block ORDER BY series_id, number",
    "instruments": "SELECT * FROM instrument ORDER BY id",
}


@pytest.fixture
async def filled(database) -> Database:
    numbers = await add_instruments(database, 2)
    hours = {START + n * DAY / 24: 1.0 + n / 8 for n in range(2000)}
    for number in numbers:
        batch = {
            SeriesKey(number, Interval.H1, "s", Basis.RAW): bars(hours),
            SeriesKey(number, Interval.D1, "s", Basis.RAW): bars({START + n * DAY: 1.5 for n in range(4000)}),
        }
        await upsert(database, batch)
    await SealingService(database).seal()
    raw = await database.connect()
    if (await read_storage(raw)).home is Home.FULL:
        chunks = await raw.fetch("SELECT compress_chunk(c) FROM show_chunks('market_price_intraday') c")
        assert len(chunks) > 1
    await raw.close()
    return database


@pytest.fixture
async def other(empty_url):
    database = Database(empty_url)
    yield database
    await database.close()


async def test_everything_comes_back(filled, other, tmp_path):
    told = await backup.backup(filled, tmp_path / "all.dump")
    assert told == await backup.restore(other, tmp_path / "all.dump") == 12_000
    for query in EVERYTHING.values():
        assert await fetch(other, query) == await fetch(filled, query)
    await migrations.upgrade(other)
    assert await migrations.differences(other) == []
    before, after = [await storage_of(one) for one in (filled, other)]
    assert before == after
    await upsert(other, {SeriesKey(1, Interval.H1, "s", Basis.RAW): bars({START + 5000 * DAY: 2.0})})
    await assert_figures_recount(other)


async def storage_of(database):
    raw = await database.connect()
    try:
        return await read_storage(raw)
    finally:
        await raw.close()


async def test_a_backup_is_of_one_moment(filled, other, tmp_path, monkeypatch):
    """What is written while it runs is not in it, and nothing of it is."""
    run, late = backup._run, SeriesKey(1, Interval.H1, "s", Basis.RAW)

    async def writing_meanwhile(*args):
        await upsert(filled, {late: bars({START + 9000 * DAY: 2.0})})
        return await run(*args)

    with monkeypatch.context() as patched:
        patched.setattr(backup, "_run", writing_meanwhile)
        assert await backup.backup(filled, tmp_path / "all.dump") == 12_000
    assert await backup.restore(other, tmp_path / "all.dump") == 12_000


async def test_what_is_there_is_not_overwritten(filled, tmp_path):
    target = tmp_path / "all.dump"
    target.write_text("precious")
    with pytest.raises(StorageError, match="exists already"):
        await backup.backup(filled, target)
    assert target.read_text() == "precious"
    with pytest.raises(StorageError, match="no folder"):
        await backup.backup(filled, tmp_path / "none" / "all.dump")
    with pytest.raises(StorageError, match="not empty"):
        await backup.restore(filled, target)


async def test_half_a_backup_brings_nothing(filled, other, tmp_path):
    await backup.backup(filled, tmp_path / "all.dump")
    whole = (tmp_path / "all.dump").read_bytes()
    (tmp_path / "half.dump").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StorageError, match="pg_restore failed"):
        await backup.restore(other, tmp_path / "half.dump")
    assert await fetch(other, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
    assert await backup.restore(other, tmp_path / "all.dump") == 12_000


async def test_a_missing_program_is_named(filled, tmp_path, monkeypatch):
    monkeypatch.setattr(backup, "find_client", lambda *_: None)
    with pytest.raises(StorageError, match=r"no pg_dump of PostgreSQL .* install postgresql-client-"):
        await backup.backup(filled, tmp_path / "all.dump")
    assert list(tmp_path.iterdir()) == []


async def test_the_environment_leads_to_no_other_server(filled, tmp_path, monkeypatch):
    monkeypatch.setenv("PGSERVICE", "another")
    monkeypatch.setenv("PGHOSTADDR", "192.0.2.1")
    assert await backup.backup(filled, tmp_path / "all.dump") == 12_000


@pytest.fixture
async def owned(other):
    """An empty database of somebody who is no superuser and makes no roles; the one needed is there."""
    name = f"test_{secrets.token_hex(6)}"
    url = make_url(other.url)
    raw = await other.connect()
    await raw.execute(backup._ROLE)
    await raw.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x'; ALTER DATABASE {url.database} OWNER TO {name}")
    theirs = Database(url.set(username=name, password="x").render_as_string(hide_password=False))
    yield theirs
    await theirs.close()
    await raw.execute(
        f"REASSIGN OWNED BY {name} TO CURRENT_USER; ALTER DATABASE {url.database} OWNER TO CURRENT_USER; "
        f"DROP OWNED BY {name}; DROP ROLE {name}"
    )
    await raw.close()


@pytest.mark.homes("plain")
async def test_an_ordinary_owner_restores(filled, owned, tmp_path):
    await backup.backup(filled, tmp_path / "all.dump")
    assert await backup.restore(owned, tmp_path / "all.dump") == 12_000
    await migrations.upgrade(owned)
    await upsert(owned, {SeriesKey(1, Interval.H1, "s", Basis.RAW): bars({START + 5000 * DAY: 2.0})})


@pytest.mark.homes("timescale-apache", "timescale-full")
async def test_an_ordinary_owner_is_told_who_restores(filled, owned, tmp_path):
    await backup.backup(filled, tmp_path / "all.dump")
    with pytest.raises(StorageError, match="only a superuser"):
        await backup.restore(owned, tmp_path / "all.dump")


def test_the_commands(apple, here, empty_url, tmp_path):
    file = tmp_path / "all.dump"
    assert invoke("db", "backup", str(file)).out.startswith(f"5 bars in {file} (")
    assert "exists already" in invoke("db", "backup", str(file)).complaint
    here.setenv("DATABASE_URL", empty_url)
    get_settings.cache_clear()
    assert invoke("db", "restore", str(file)).out == "5 bars restored and counted\n"
    assert invoke("prices", "AAPL", "--interval", "1d", "--format", "csv").out.count("\n") == 6
    assert "not empty" in invoke("db", "restore", str(file)).complaint
    assert "pg_restore failed" in invoke_on_empty(here, empty_url, tmp_path / "nothing")


def invoke_on_empty(here, url, file):
    async def empty():
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        await connection.close()

    asyncio.run(empty())
    return invoke("db", "restore", str(file)).complaint
