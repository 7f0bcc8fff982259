"""Migrations up and down, what they guarantee, and what the reader may see."""

import asyncio

import asyncpg
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from market_data.core.exceptions import SchemaMismatch
from market_data.db import migrations
from market_data.db.aggregates import AGGREGATES
from market_data.db.session import Database
from tests.support.views import VIEWS

REVISIONS = ["0001", "0002", "0003", "0004", "0005"]
TABLES = [
    "alembic_version",
    "calendar_override",
    "coverage",
    "ingestion_run",
    "instrument",
    "market_price_daily",
    "market_price_intraday",
    "price_block",
    "provider_budget",
    "provider_quota",
    "provider_symbol",
    "rejection",
    "schedule",
    "series",
    "subscription",
]
REFUSED = (
    asyncpg.InsufficientPrivilegeError,
    asyncpg.WrongObjectTypeError,
    asyncpg.ObjectNotInPrerequisiteStateError,  # no view of several tables takes rows, from anyone
)
OURS = """
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'public' AND c.relkind IN ('r', 'v', 'i', 'S', 'm')
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
    """


OUR_FUNCTIONS = """
    pronamespace = 'public'::regnamespace
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = pg_proc.oid AND d.deptype = 'e')
    """


OUR_TRIGGERS = """
    NOT tgisinternal AND tgname <> 'ts_insert_blocker' AND tgrelid::regclass::text NOT LIKE '\\_timescaledb%'
    """


@pytest.fixture
async def empty(empty_url):
    database = Database(empty_url)
    yield database
    await database.close()


@pytest.fixture
async def raw(database):
    connection = await asyncpg.connect(database.url.replace("+asyncpg", ""))
    yield connection
    await connection.close()


async def relations(database):
    async with database.connection() as connection:
        found = await connection.execute(text(f"SELECT c.relname, c.relkind::text {OURS}"))
        functions = await connection.execute(text(f"SELECT proname, 'f' FROM pg_proc WHERE {OUR_FUNCTIONS}"))
        return sorted(tuple(row) for row in [*found, *functions])


async def test_every_revision_is_listed_here():
    script = ScriptDirectory(str(migrations.script_location()))
    assert [one.revision for one in script.walk_revisions()][::-1] == REVISIONS


async def test_stairway_up_down_up_of_each_revision(empty):
    for below, revision in zip(["base", *REVISIONS], REVISIONS, strict=False):
        await migrations.upgrade(empty, revision)
        above = await relations(empty)
        await migrations.downgrade(empty, below)
        await migrations.upgrade(empty, revision)
        assert await relations(empty) == above
        assert (await migrations.revision(empty)).current == revision
    assert await migrations.differences(empty) == []


async def test_downgrade_to_base_leaves_only_the_version_table(empty):
    assert await relations(empty) == []
    await migrations.upgrade(empty)
    await migrations.downgrade(empty, "base")
    assert await relations(empty) == [("alembic_version", "r"), ("alembic_version_pkc", "i")]
    found = await migrations.revision(empty)
    assert (found.current, found.head, found.is_head) == (None, REVISIONS[-1], False)


async def test_several_processes_upgrade_at_once(empty_url):
    databases = [Database(empty_url) for _ in range(4)]
    await asyncio.gather(*(migrations.upgrade(database) for database in databases))
    found = await migrations.revision(databases[0])
    assert found.is_head
    await migrations.require_head(databases[0])
    await asyncio.gather(*(database.close() for database in databases))


async def test_models_and_migrations_agree(database):
    assert await migrations.differences(database) == []


async def test_a_difference_is_told(empty):
    await migrations.upgrade(empty)
    async with empty.engine.begin() as connection:
        await connection.execute(text("ALTER TABLE instrument DROP COLUMN figi CASCADE"))
    assert any("figi" in one for one in await migrations.differences(empty))


async def test_a_newer_schema_is_refused(empty):
    await migrations.upgrade(empty)
    async with empty.engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for refused in (
        migrations.upgrade(empty),
        migrations.require_head(empty),
        migrations.downgrade(empty, "base"),
    ):
        with pytest.raises(SchemaMismatch, match=r"9999.*newer version"):
            await refused


async def test_an_older_or_empty_schema_is_named(empty):
    with pytest.raises(SchemaMismatch, match=r"revision none.*db upgrade"):
        await migrations.require_head(empty)
    await migrations.upgrade(empty, "0001")
    with pytest.raises(SchemaMismatch, match="revision 0001"):
        await migrations.require_head(empty)


async def test_a_migration_gives_up_on_a_table_in_use(empty, monkeypatch):
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT", "100ms")
    await migrations.upgrade(empty)
    async with empty.engine.begin() as other:
        await other.execute(text("LOCK TABLE series IN ACCESS SHARE MODE"))
        with pytest.raises(DBAPIError, match="lock timeout"):
            await migrations.downgrade(empty, "base")
    assert (await migrations.revision(empty)).is_head
    async with empty.connection() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM v_series")) == 0


async def test_every_object_carries_a_comment(home, raw):
    bare = await raw.fetch(
        f"""
        SELECT c.relname FROM (SELECT c.oid, c.relname, c.relkind {OURS}) c
        LEFT JOIN pg_constraint k ON k.conindid = c.oid
        WHERE c.relkind IN ('r', 'v', 'm') OR (c.relkind = 'i' AND k.oid IS NULL)
        EXCEPT SELECT c.relname FROM pg_class c JOIN pg_description d ON d.objoid = c.oid AND d.objsubid = 0
        UNION
        SELECT c.relname || '.' || a.attname FROM (SELECT c.oid, c.relname, c.relkind {OURS}) c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relkind IN ('r', 'v', 'm') AND col_description(c.oid, a.attnum) IS NULL
        UNION
        SELECT proname FROM pg_proc WHERE {OUR_FUNCTIONS} AND obj_description(oid, 'pg_proc') IS NULL
        UNION
        SELECT tgname || ' on ' || tgrelid::regclass FROM pg_trigger
        WHERE {OUR_TRIGGERS} AND obj_description(oid, 'pg_trigger') IS NULL
        """
    )
    assert [one[0] for one in bare] == []
    guards = 4 if home.name == "plain" else 2  # hypertables have none; the queue has one
    assert len(await raw.fetch(f"SELECT FROM pg_trigger WHERE {OUR_TRIGGERS}")) == guards


_INSTRUMENT = "INSERT INTO instrument (symbol, exchange, asset_class, currency) VALUES "
_SERIES = "INSERT INTO series (instrument_id, interval, source, basis) VALUES (1, "
_RUN = "INSERT INTO ingestion_run (source, status, parameters, owner) VALUES ('a', 'queued', '{}', 1)"


async def a_series(raw, interval="1d") -> int:
    instrument = await raw.fetchval(
        _INSTRUMENT + "('A', 'X', 'equity', 'USD') ON CONFLICT DO NOTHING RETURNING id"
    ) or await raw.fetchval("SELECT min(id) FROM instrument")
    return await raw.fetchval(
        "INSERT INTO series (instrument_id, interval, source, basis) "
        "VALUES ($1, $2, 'api', 'raw') RETURNING id",
        instrument,
        interval,
    )


GOOD = {"open": 2.0, "high": 3.0, "low": 1.0, "close": 2.0, "volume": 5.0}
NAN, INF = float("nan"), float("inf")
BROKEN = [
    {"low": 2.5},
    {"open": 4.0},
    {"open": 0.5},
    {"close": 4.0},
    {"close": 0.5},
    {"high": 0.5},
    {"high": INF, "open": 2.0},
    {"low": -INF},
    {"open": NAN},
    {"high": NAN},
    {"low": NAN},
    {"close": NAN},
    {"volume": -1.0},
    {"volume": INF},
]


@pytest.mark.parametrize("table", ["market_price_daily", "market_price_intraday"])
async def test_the_database_refuses_what_is_no_bar(raw, table):
    series = await a_series(raw)
    insert = (
        f"INSERT INTO {table} (series_id, ts, open, high, low, close, volume, run_id) "
        "VALUES ($1, '2024-01-02Z', $2, $3, $4, $5, $6, 1)"
    )
    for broken in BROKEN:
        with pytest.raises(asyncpg.CheckViolationError):
            await raw.execute(insert, series, *(GOOD | broken).values())
    for column in range(2, 7):
        values = [*GOOD.values()]
        values[column - 2] = None
        with pytest.raises(asyncpg.NotNullViolationError):
            await raw.execute(insert, series, *values)
    await raw.execute(insert, series, *(GOOD | {"volume": NAN}).values())
    assert await raw.fetchval(f"SELECT count(*) FROM {table}") == 1


@pytest.mark.parametrize(
    "statement",
    [
        _INSTRUMENT + "('A B', 'X', 'equity', 'USD')",
        _INSTRUMENT + "('A,B', 'X', 'equity', 'USD')",
        _INSTRUMENT + "('', 'X', 'equity', 'USD')",
        _INSTRUMENT + "('A', 'X Y', 'equity', 'USD')",
        _INSTRUMENT + "('A', 'X', 'stock', 'USD')",
        _INSTRUMENT + "('A', 'X', 'equity', 'usd')",
        "INSERT INTO ingestion_run (source, status, parameters, owner) VALUES ('api', 'done', '{}', 1)",
        "UPDATE ingestion_run SET rejected = -1",
        _SERIES + "'2d', 'api', 'raw')",
        _SERIES + "'1d', 'api', 'net')",
        _SERIES + "'1d', 'A!', 'raw')",
        "UPDATE series SET bar_count = 1",
        "UPDATE series SET bar_count = -1, first_ts = now(), last_ts = now()",
        "UPDATE series SET bar_count = 2, first_ts = now(), last_ts = now() - interval '1 day'",
    ],
)
async def test_the_database_refuses_what_is_no_record(raw, statement):
    await a_series(raw, "1h")
    await raw.execute(_RUN)
    with pytest.raises(asyncpg.CheckViolationError):
        await raw.execute(statement)


async def test_an_active_symbol_is_unique_on_its_exchange(raw):
    await a_series(raw)
    again = (
        "INSERT INTO instrument (symbol, exchange, asset_class, currency, active) "
        "VALUES ('A', 'X', 'equity', 'USD', $1)"
    )
    with pytest.raises(asyncpg.UniqueViolationError):
        await raw.execute(again, True)
    await raw.execute(again, False)
    await raw.execute(again, False)


@pytest.mark.parametrize("table", ["market_price_daily", "market_price_intraday"])
async def test_bars_and_series_keep_each_other(home, raw, table):
    insert = f"INSERT INTO {table} VALUES ($1, '2024-01-02Z', 1, 1, 1, 1, 1, 1)"
    if home.name == "plain":  # hypertables have no such guard: ADR 0023
        with pytest.raises(asyncpg.ForeignKeyViolationError, match=f"no series 4711 for bars in {table}"):
            await raw.execute(insert, 4711)
    series = await a_series(raw)
    await raw.execute(insert, series)
    with pytest.raises(asyncpg.ForeignKeyViolationError, match=f"series {series} still has bars"):
        await raw.execute("DELETE FROM series")
    with pytest.raises((asyncpg.ForeignKeyViolationError, asyncpg.RestrictViolationError)):
        await raw.execute("DELETE FROM instrument")
    await raw.execute(f"DELETE FROM {table}")
    await raw.execute("DELETE FROM series")
    await raw.execute("DELETE FROM instrument")


async def test_the_reader_reads_the_views_and_nothing_else(home, raw):
    named = await raw.fetch(f"SELECT c.relname, c.relkind::text {OURS} AND c.relkind IN ('r', 'v')")
    aggregates = [*AGGREGATES] if home.name == "timescale-full" else []
    over = ["v_price_aggregate"] if aggregates else []
    assert sorted(name for name, kind in named if kind == "v") == sorted(VIEWS + aggregates + over)
    assert sorted(name for name, kind in named if kind == "r") == TABLES
    await raw.execute("SET ROLE market_data_reader")
    for view in VIEWS:
        tables = len(TABLES) - 1 if view == "v_storage" else 0  # sizes of all but alembic's
        assert await raw.fetchval(f"SELECT count(*) FROM {view}") == tables
    for view in over:
        assert await raw.fetchval(f"SELECT count(*) FROM {view}") == 0
    forbidden = [f"SELECT FROM {table}" for table in TABLES + aggregates]
    for relation in TABLES + VIEWS:
        forbidden += [
            f"INSERT INTO {relation} DEFAULT VALUES",
            f"DELETE FROM {relation}",
            f"TRUNCATE {relation}",
        ]
    forbidden += [
        "UPDATE v_instrument SET name = 'x'",
        "UPDATE instrument SET name = 'x'",
        "CREATE TABLE mine (id int)",
        "CREATE VIEW v_mine AS SELECT 1",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE SCHEMA mine",
        "CREATE ROLE mine",
        "DROP VIEW v_price",
        "SELECT bars_have_series()",
        "SELECT series_keeps_bars()",
        "SELECT nextval('instrument_id_seq')",
        "SELECT pg_read_file('/etc/passwd')",
        "COPY v_price TO '/tmp/prices'",
    ]
    for statement in forbidden:
        with pytest.raises(REFUSED):
            await raw.execute(statement)


async def test_the_views_show_an_absent_volume_as_null(raw):
    daily, hourly = await a_series(raw), await a_series(raw, "1h")
    await raw.execute(
        "INSERT INTO market_price_daily VALUES ($1, '2024-01-02Z', 2, 3, 1, 2.5, 'NaN', 1)", daily
    )
    await raw.execute(
        "INSERT INTO market_price_intraday VALUES ($1, '2024-01-02 09:00Z', 1, 1, 1, 1, 7, 1)", hourly
    )
    found = await raw.fetch(
        "SELECT symbol, exchange, asset_class, currency, interval, source, basis, "
        "ts::text, open, high, low, close, volume FROM v_price ORDER BY interval"
    )
    key = ("A", "X", "equity", "USD")
    assert [tuple(one) for one in found] == [
        (*key, "1d", "api", "raw", "2024-01-02 00:00:00+00", 2.0, 3.0, 1.0, 2.5, None),
        (*key, "1h", "api", "raw", "2024-01-02 09:00:00+00", 1.0, 1.0, 1.0, 1.0, 7.0),
    ]
