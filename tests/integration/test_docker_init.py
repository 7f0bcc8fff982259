"""What Compose's database runs when its volume is empty, and what `migrate` does as the role made there."""

import asyncio
import os
import secrets
import subprocess
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from market_data.core.config import get_settings
from market_data.db.embedded.binaries import available
from market_data.db.session import libpq_url
from tests.support.command import invoke

SCRIPT = Path(__file__).parents[2] / "docker/initdb/010_market_data.sql"


async def _ask(url: str, *statements: str) -> list[object]:
    connection = await asyncpg.connect(url)
    try:
        return [await connection.fetchval(one) for one in statements]
    finally:
        await connection.close()


@pytest.fixture
def owner(empty_url, tmp_path):
    """Address of the role the script made; its names are replaced by ones this server has not."""
    psql = next((one.program("psql") for one in available() if one.program("psql").exists()), None)
    if psql is None:
        pytest.skip("not run: no psql beside the server's programs")
    url = make_url(libpq_url(empty_url))
    name = f"{url.database}_owner"
    text = SCRIPT.read_text().replace("DATABASE market_data", f"DATABASE {url.database}")
    script = tmp_path / "init.sql"
    script.write_text(text.replace(" market_data ", f" {name} ").replace(" market_data;", f" {name};"))
    password = secrets.token_hex(24)
    words = [psql, "-v", "ON_ERROR_STOP=1", "--no-psqlrc", f"--dbname={libpq_url(empty_url)}", "-f", script]
    env = {**os.environ, "MARKET_DATA_PASSWORD": password}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert password not in done.stdout + done.stderr
    yield url.set(username=name, password=password).render_as_string(hide_password=False)
    asyncio.run(_ask(libpq_url(empty_url), f"ALTER DATABASE {url.database} OWNER TO CURRENT_USER"))
    asyncio.run(_ask(libpq_url(empty_url), f"DROP OWNED BY {name} CASCADE", f"DROP ROLE {name}"))


def test_the_program_owns_its_database_is_no_superuser_and_may_make_readers(owner, empty_url, bare):
    bare.setenv("DATABASE_URL", owner)
    get_settings.cache_clear()
    assert invoke("db", "upgrade").code == 0
    assert invoke("db", "check").code == 0
    mighty = "rolsuper OR rolcreatedb OR rolreplication OR rolbypassrls"
    asked = [f"SELECT {one} FROM pg_roles WHERE rolname = current_user" for one in (mighty, "rolcreaterole")]
    assert asyncio.run(_ask(owner, *asked)) == [False, True]
    # On a server of its own the migration makes the reader's role, which gives its maker this.
    name, login = make_url(owner).username, f"{make_url(owner).username}_reader"
    asyncio.run(_ask(libpq_url(empty_url), f"GRANT market_data_reader TO {name} WITH ADMIN OPTION"))
    bare.setenv("READER_PASSWORD", "first")
    try:
        assert invoke("db", "grant-reader", login, "--json").json() == {"login": login, "created": True}
        bare.setenv("READER_PASSWORD", "second")
        assert invoke("db", "grant-reader", login, "--json").json() == {"login": login, "created": False}
        reader = make_url(owner).set(username=login, password="second").render_as_string(hide_password=False)
        assert asyncio.run(_ask(reader, "SELECT count(*) FROM v_price")) == [0]
    finally:
        asyncio.run(_ask(owner, f"DROP ROLE IF EXISTS {login}"))
