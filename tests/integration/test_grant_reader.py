"""`market-data db grant-reader`: a login that reads the views and nothing else."""

import asyncio
import secrets

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from market_data.core.config import get_settings
from tests.support.command import invoke

PASSWORD = 'it\'s: a \\ "pass" %word$'


@pytest.fixture
def login(server_url):
    """A name no role of the server has; the role is dropped after the test, together with its database."""
    name = f"reader_{secrets.token_hex(6)}"
    yield name
    asyncio.run(_as(server_url, f"DROP ROLE IF EXISTS {name}"))


async def _as(url: str, *statements: str, **account: str) -> list[object]:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""), **account)
    try:
        return [await connection.fetchval(one) for one in statements]
    finally:
        await connection.close()


@pytest.fixture
def migrated_here(bare, empty_url):
    bare.setenv("DATABASE_URL", empty_url)
    get_settings.cache_clear()
    assert invoke("db", "upgrade").code == 0
    return bare


def test_a_login_is_made_once_and_given_its_password_anew(migrated_here, empty_url, login):
    migrated_here.setenv("READER_PASSWORD", "first")
    assert invoke("db", "grant-reader", login).out == f"{login} was created and may read the views\n"
    migrated_here.setenv("GRAFANA_DB_PASSWORD", PASSWORD)
    again = invoke("db", "grant-reader", login, "--password-env", "GRAFANA_DB_PASSWORD", "--json")
    assert again.json() == {"login": login, "created": False}
    assert PASSWORD not in again.out + again.err
    carried = ("statement_timeout", "lock_timeout", "default_transaction_read_only")
    asked = ("SELECT count(*) FROM v_price", *(f"SHOW {one}" for one in carried))
    assert asyncio.run(_as(empty_url, *asked, user=login, password=PASSWORD)) == [0, "30s", "5s", "on"]
    with pytest.raises(asyncpg.InvalidPasswordError):
        asyncio.run(_as(empty_url, "SELECT 1", user=login, password="first"))
    for forbidden in (
        "SELECT count(*) FROM instrument",
        "CREATE TEMP TABLE x ()",
        "SELECT pg_read_file('x')",
    ):
        with pytest.raises(asyncpg.PostgresError):
            asyncio.run(_as(empty_url, forbidden, user=login, password=PASSWORD))


def test_it_stands_in_the_server_as_a_verifier_of_what_postgresql_makes(migrated_here, empty_url, login):
    migrated_here.setenv("READER_PASSWORD", PASSWORD)
    assert invoke("db", "grant-reader", login).code == 0
    stored = f"SELECT rolpassword FROM pg_authid WHERE rolname = '{login}'"
    assert str(asyncio.run(_as(empty_url, stored))[0]).startswith("SCRAM-SHA-256$4096:")


@pytest.mark.parametrize(
    ("name", "password", "complaint"),
    [
        ("grafana", "", "READER_PASSWORD is unset or empty"),
        ("grafana", "pässword", "printable ASCII"),
        ("pg_reader", "x", "no plain name"),
        ('a"; DROP TABLE series; --', "x", "no plain name"),
        ("postgres_of_others", "x", "is no reader: choose another name"),
    ],
)
def test_what_is_refused(migrated_here, empty_url, name, password, complaint):
    migrated_here.setenv("READER_PASSWORD", password)
    taken = "postgres_of_others"
    asyncio.run(_as(empty_url, f"CREATE ROLE {taken}"))
    try:
        outcome = invoke("db", "grant-reader", name)
    finally:
        asyncio.run(_as(empty_url, f"DROP ROLE {taken}"))
    assert outcome.code == 2
    assert complaint in outcome.complaint


def test_the_program_never_makes_a_reader_of_itself(migrated_here, empty_url):
    migrated_here.setenv("READER_PASSWORD", "x")
    outcome = invoke("db", "grant-reader", make_url(empty_url).username)
    assert (outcome.code, "is no reader" in outcome.complaint) == (2, True)


def test_a_role_that_may_not_create_logins_is_told_so(migrated_here, empty_url, login):
    owner = f"{login}_owner"
    password = secrets.token_hex(12)  # long: what is a database's password is blanked in this process's logs
    made = f"CREATE ROLE {owner} LOGIN PASSWORD '{password}'; GRANT SELECT ON alembic_version TO {owner}"
    asyncio.run(_as(empty_url, *made.split("; ")))
    migrated_here.setenv("READER_PASSWORD", "x")
    try:
        theirs = make_url(empty_url).set(username=owner, password=password)
        migrated_here.setenv("DATABASE_URL", theirs.render_as_string(hide_password=False))
        get_settings.cache_clear()
        outcome = invoke("db", "grant-reader", login)
    finally:
        asyncio.run(_as(empty_url, f"DROP OWNED BY {owner}", f"DROP ROLE {owner}"))
    assert (outcome.code, "CREATEROLE" in outcome.complaint) == (2, True)
