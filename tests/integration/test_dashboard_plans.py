"""Panels read what they show and no more: never a scan over bars, however many there are.

Functions hide their plans from EXPLAIN, but not from the counters of PostgreSQL: those tell how often a table
was scanned from end to end in this transaction, and how many rows were read of it and through its indexes.
"""

import json
import re
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from grafana.alerts import RULES

from market_data.db import migrations
from market_data.db.session import Database
from tests.conftest import new_database
from tests.support.dashboards import (
    LOGIN,
    Asked,
    as_owner,
    asked,
    choose,
    forget_login,
    login,
    variables,
    window,
)
from tests.support.grafana import Choice, Dashboard, Window

BAR_TABLES = ("market_price_intraday", "market_price_daily")
READ = """
    WITH RECURSIVE part AS (
        SELECT unnest($1::regclass[])::oid AS oid
        UNION ALL SELECT h.inhrelid FROM pg_inherits h JOIN part ON h.inhparent = part.oid),
    counted AS (
        SELECT oid, pg_stat_get_xact_numscans(oid) AS scans, pg_stat_get_xact_tuples_returned(oid) AS rows
        FROM part
        UNION ALL
        SELECT indexrelid, 0, pg_stat_get_xact_tuples_returned(indexrelid)
        FROM pg_index JOIN part ON indrelid = part.oid)
    SELECT coalesce(sum(scans), 0)::bigint AS scans, coalesce(sum(rows), 0)::bigint AS rows FROM counted
"""
EVERYTHING = [
    *asked(),
    *(Asked("alert", rule.name, rule.query) for rule in RULES),
]
each = pytest.mark.parametrize("one", EVERYTHING, ids=str)


@asynccontextmanager
async def measured(database: Database):
    """A transaction of the owner, acting as the login, whose counters start at nothing."""
    async with as_owner(database) as owner:
        await owner.execute("SET max_parallel_workers_per_gather = 0")  # their counts would arrive later
        async with owner.transaction():
            await owner.execute(f"SET LOCAL ROLE {LOGIN}")
            yield owner


async def bars_read(owner: asyncpg.Connection, sql: str) -> tuple[int, int]:
    """Run it; return how often bars were scanned from end to end, and how many rows of them were read."""
    await owner.fetch(sql)
    await owner.execute("RESET ROLE")
    found = await owner.fetchrow(READ, list(BAR_TABLES))
    return found["scans"], found["rows"]


def scans(plan: object) -> list[str]:
    """Which relations a plan scans from end to end."""
    if isinstance(plan, list):
        return [name for one in plan for name in scans(one)]
    if not isinstance(plan, dict):
        return []
    own = [plan["Relation Name"]] if plan.get("Node Type") == "Seq Scan" else []
    return own + [name for value in plan.values() for name in scans(value)]


def of_bars(relation: str) -> bool:
    return relation.startswith(BAR_TABLES) or re.match("(_hyper|compress_hyper)_", relation) is not None


async def defaults(reader, uid: str) -> Dashboard:
    if uid == "alert":
        return Dashboard(window(uid))
    symbol = "SELECT instrument_id FROM v_series ORDER BY bar_count DESC, series_id LIMIT 1"
    wanted = {"instrument": str(await reader.fetchval(symbol))} if uid.endswith("instrument") else {}
    return await choose(reader, uid, **wanted)


@each
async def test_no_panel_scans_bars(sampled, grafana, one):
    dashboard = await defaults(grafana, one.dashboard)
    sql = dashboard.expand(one.query.sql)
    (plan,) = await grafana.fetchrow(f"EXPLAIN (FORMAT JSON) {sql}")
    assert not [name for name in scans(json.loads(plan)) if of_bars(name)]
    total = await grafana.fetchval("SELECT sum(bar_count) FROM v_series")
    async with measured(sampled) as owner:
        scanned, rows = await bars_read(owner, sql)
    assert scanned == 0
    assert rows < total / 20


async def test_the_counters_would_notice(sampled):
    async with measured(sampled) as owner:
        await owner.execute("RESET ROLE")
        scanned, rows = await bars_read(owner, "SELECT max(close) FROM market_price_daily")
    assert scanned >= 1
    assert rows >= 200_000
    async with measured(sampled) as owner:
        await owner.execute("RESET ROLE")
        bars = "SELECT max(close) FROM market_price_intraday WHERE series_id = $1 AND ts > '2024-03-05'"
        coin = await owner.fetchval("SELECT series_id FROM v_series WHERE symbol = 'COIN'")
        await owner.execute("SET LOCAL enable_seqscan = off")
        scanned, rows = await bars_read(owner, bars.replace("$1", str(coin)))
    assert (scanned, rows) == (0, 3000 - 1441)


async def test_last_prices_read_two_bars_a_series(sampled, grafana):
    series = await grafana.fetchval("SELECT count(*) FROM v_series")
    async with measured(sampled) as owner:
        scanned, rows = await bars_read(owner, "SELECT * FROM v_latest")
    assert scanned == 0
    assert rows <= 2 * series


async def test_a_calculation_reads_its_range_and_its_lead(sampled, grafana):
    key = await grafana.fetchrow(
        "SELECT instrument_id, first_ts FROM v_series WHERE symbol = 'AAPL' AND source = 'bokeh_sampledata'"
    )
    start = key["first_ts"] + timedelta(days=1000)
    arguments = (
        f"{key['instrument_id']}, '1d', 'bokeh_sampledata', 'raw', '{start}', '{start + timedelta(days=14)}'"
    )
    for call in (
        f"price_candle({arguments})",
        f"price_return({arguments})",
        f"rolling_volatility({arguments}, 20)",
        f"drawdown({arguments})",
    ):
        async with measured(sampled) as owner:
            scanned, rows = await bars_read(owner, f"SELECT * FROM {call}")
        assert scanned == 0
        assert rows <= 2 * 20 + 10, call  # the lead is found first, then read


MILLIONS = 10_000_000
SERIES = 20
FIRST = datetime(2024, 1, 1, tzinfo=UTC)


async def generate(owner: asyncpg.Connection) -> None:
    """Ten million minutes of twenty coins, in the order of time, as a live feed writes them; and days."""
    await owner.execute(
        "INSERT INTO instrument (symbol, exchange, asset_class, currency) "
        f"SELECT 'C' || n, 'X', 'crypto', 'USD' FROM generate_series(1, {SERIES}) n"
    )
    for table, interval, step, count in (
        ("market_price_intraday", "1m", "1 minute", MILLIONS // SERIES),
        ("market_price_daily", "1d", "1 day", 347),
    ):
        await owner.execute(
            f"""
            INSERT INTO series (instrument_id, interval, source, basis, first_ts, last_ts, bar_count)
            SELECT id, '{interval}', 'made', 'raw', '{FIRST}',
                   '{FIRST}'::timestamptz + {count - 1} * interval '{step}', {count}
            FROM instrument ORDER BY id;
            INSERT INTO {table}
            SELECT s.id, '{FIRST}'::timestamptz + n * interval '{step}',
                   p, p + 1, p - 1, p + sin(n), 1 + n % 10, 1
            FROM generate_series(0, {count} - 1) n, series s,
                 LATERAL (SELECT 100 + 10 * sin(n / 1000.0 + s.id) AS p) x
            WHERE s.interval = '{interval}'
            """,
            timeout=900,
        )
    await owner.execute("VACUUM (ANALYZE)", timeout=300)


@pytest.fixture(scope="module")
async def millions(server_url):
    async with new_database(server_url) as url:
        database = Database(url)
        await migrations.upgrade(database)
        async with as_owner(database) as owner:
            await generate(owner)
        yield database
        await forget_login(database)
        await database.close()


@pytest.mark.slow
@each
async def test_ten_million_bars_are_no_slower(millions, one):
    """A week of minutes: seconds would mean that more was read than is shown."""
    end = FIRST + timedelta(minutes=MILLIONS // SERIES)
    shown = Window(end - timedelta(days=7), end, "15m")
    async with login(millions) as reader:
        chosen = dict((await defaults(reader, one.dashboard)).choices)
        for name in {variable.name for variable in variables(one.dashboard)} if chosen else ():
            if name == "interval":
                chosen[name] = Choice("1m")
        sql = Dashboard(shown, chosen).expand(one.query.sql)
        (plan,) = await reader.fetchrow(f"EXPLAIN (FORMAT JSON) {sql}")
        assert not [name for name in scans(json.loads(plan)) if of_bars(name)]
        await reader.fetch(sql)
        began = time.perf_counter()
        await reader.fetch(sql)
        seconds = time.perf_counter() - began
    async with measured(millions) as owner:
        scanned, rows = await bars_read(owner, sql)
    print(f"{one}: {seconds * 1000:.1f} ms, {rows} rows of bars read")
    assert scanned == 0
    assert rows <= 2 * SERIES * 7 * 1440
    assert seconds < 2
