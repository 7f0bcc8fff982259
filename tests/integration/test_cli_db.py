"""`market-data db` and `market-data providers`."""

import asyncio
import re

import asyncpg
import pytest

from market_data.core.config import get_settings
from tests.support.command import invoke


@pytest.fixture
def empty(bare, empty_url):
    bare.setenv("DATABASE_URL", empty_url)
    get_settings.cache_clear()


def test_upgrade_of_an_empty_database(empty):
    before = invoke("db", "current")
    assert (before.code, before.out.split()[0]) == (1, "empty")
    assert invoke("db", "info", "--json").json()["revision"] == "empty"
    upgraded = invoke("db", "upgrade", "--json").json()
    assert upgraded["before"] is None
    again = invoke("db", "upgrade")
    assert again.out == f"the schema is up to date, at revision {upgraded['current']}\n"
    now = invoke("db", "current", "--json")
    assert (now.code, now.json()["is_head"]) == (0, True)
    assert invoke("db", "check").out == "tables and models agree\n"


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    await connection.execute(statement)
    await connection.close()


def test_check_tells_what_differs(empty, empty_url):
    assert invoke("db", "upgrade").out.startswith("the schema was upgraded from empty to ")
    asyncio.run(_execute(empty_url, "ALTER TABLE instrument ADD COLUMN extra integer"))
    outcome = invoke("db", "check")
    assert (outcome.code, "extra" in outcome.out) == (1, True)
    assert outcome.complaint == "error: tables and models differ"
    assert len(invoke("db", "check", "--json").json()["differences"]) == 1
    asyncio.run(_execute(empty_url, "UPDATE alembic_version SET version_num = '9999'"))
    newer = invoke("db", "upgrade")
    assert (newer.code, "newer version" in newer.complaint) == (1, True)


def test_info(apple):
    shown = invoke("db", "info", "--json").json()
    assert shown["server"].startswith("PostgreSQL ")
    assert (shown["instruments"], shown["series"], shown["bars"]) == (1, 1, 5)
    assert "data_dir" not in shown
    assert "PostgreSQL" in invoke("db", "info").out


@pytest.mark.parametrize(
    ("given", "printed"),
    [
        ("postgresql+asyncpg://u:p%40ss@h:5433/d", "postgresql://u:p%40ss@h:5433/d"),
        ("postgres://u:p@h/d?sslmode=require", "postgresql://u:p@h/d?sslmode=require"),
        ("postgresql+asyncpg://u:p@h/d?ssl=verify-full", "postgresql://u:p@h/d?sslmode=verify-full"),
    ],
)
def test_url_is_one_for_psql(given, printed, bare):
    bare.setenv("DATABASE_URL", given)
    outcome = invoke("db", "url")
    assert (outcome.code, outcome.out, outcome.err) == (0, f"{printed}\n", "")
    assert invoke("db", "url", "--json").json() == {"url": printed}


def test_the_embedded_server_by_itself(bare, tmp_path):
    bare.setenv("DATA_DIR", str(tmp_path / "data"))
    outcome = invoke("db", "url")
    assert outcome.out.startswith("postgresql://market_data:")
    assert "market-data serve" in outcome.err
    assert invoke("db", "info", "--json").json()["data_dir"] == str(tmp_path / "data")


def test_providers(bare):
    found = {one["name"]: one for one in invoke("providers", "--json").json()}
    assert {"alphavantage", "binance", "bitstamp", "coinbase", "ecb", "kraken", "yahoo"} <= set(found)
    assert "ALPHA_VANTAGE_API_KEY" in invoke("providers").out
    assert "missing" in invoke("providers", "Alpha-Vantage").out
    bare.setenv("ALPHA_VANTAGE_API_KEY", "K3Y")
    one = invoke("providers", "alphavantage", "--json").json()
    assert (one["needs_key"], one["key_set"]) == (True, True)
    assert "K3Y" not in invoke("providers", "alphavantage").out
    bare.setenv("ALPHA_VANTAGE_REQUESTS_PER_DAY", "7500")
    assert re.search(r"^requests per day +7500$", invoke("providers", "alphavantage").out, re.MULTILINE)
    assert re.search(r"^history +1m 30 days, 5m 60 days,", invoke("providers", "yahoo").out, re.MULTILINE)


def test_a_missing_key(here):
    outcome = invoke("ingest", "alphavantage", "IBM")
    assert (outcome.code, "set ALPHA_VANTAGE_API_KEY" in outcome.complaint) == (1, True)


def test_seal_and_reindex(apple):
    assert invoke("db", "seal").out == "1 blocks sealed\n"
    assert invoke("db", "seal", "--json").json() == {"sealed": 0}
    assert invoke("db", "reindex", "--json").json() == {"bars": 5, "sealed": 1}
    assert invoke("db", "reindex").out == "5 bars counted, 1 blocks sealed\n"
