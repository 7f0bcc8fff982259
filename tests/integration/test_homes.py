"""Each home is what it is called: asked of the server itself, in a database with the extension."""

import asyncpg
import pytest

LICENCES = {"timescale-apache": "apache", "timescale-full": "timescale"}

pytestmark = pytest.mark.homes(*LICENCES)


@pytest.fixture
async def connection(empty_url):
    """A connection to a scratch database with TimescaleDB and a hypertable."""
    connection = await asyncpg.connect(empty_url.replace("+asyncpg", ""))
    await connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    await connection.execute("CREATE TABLE bar (ts timestamptz NOT NULL, close float8 NOT NULL)")
    await connection.execute("SELECT create_hypertable('bar', by_range('ts', INTERVAL '1 day'))")
    yield connection
    await connection.close()


async def test_the_edition_is_the_one_of_the_name(home, connection):
    assert await connection.fetchval("SHOW timescaledb.license") == LICENCES[home.name]
    assert "TimescaleDB" in home.version


async def test_hypertables_have_chunks(connection):
    days = "SELECT day, 1 FROM generate_series('2024-01-01', '2024-01-10', INTERVAL '1 day') AS day"
    await connection.execute(f"INSERT INTO bar {days}")
    assert await connection.fetchval("SELECT count(*) FROM show_chunks('bar')") == 10


async def test_columnstore_belongs_to_the_full_edition(home, connection):
    enable = connection.execute(
        "ALTER TABLE bar SET (timescaledb.compress, timescaledb.compress_orderby = 'ts')"
    )
    if LICENCES[home.name] == "timescale":
        await enable
        return
    with pytest.raises(asyncpg.FeatureNotSupportedError) as refused:
        await enable
    assert refused.value.sqlstate == "0A000"


async def test_nothing_is_reported_to_the_vendor(home, connection):
    assert await connection.fetchval("SHOW timescaledb.telemetry_level") == "off"
