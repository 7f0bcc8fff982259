"""Returns, volatility, drawdown, candles, movers, freshness, against figures worked out elsewhere."""

import math
import statistics
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import asyncpg
import pytest

from market_data.db import migrations
from market_data.db.session import Database
from tests.support.api import add_instrument, row, store
from tests.support.bars import fetch
from tests.support.dashboards import as_owner

CLOSES = [100.0, 110.0, 99.0, 108.9, 98.01, 49.005, 98.01]
DAYS = [datetime(2024, 1, 1 + n, tzinfo=UTC) for n in range(len(CLOSES))]
KEY = "1, '1d', 'api', 'raw'"


@pytest.fixture
async def acme(client, database):
    """Seven days of ACME, a Monday to a Sunday."""
    await add_instrument(client)
    bars = [
        row(day.date().isoformat(), close, 10.0, high=close + 1, low=close - 1)
        for day, close in zip(DAYS, CLOSES, strict=True)
    ]
    await store(client, bars)
    return database


def between(start: int, end: int) -> str:
    return f"'{DAYS[0] + timedelta(days=start)}', '{DAYS[0] + timedelta(days=end)}'"


async def test_returns_begin_with_the_bar_before_the_range(acme):
    rows = await fetch(acme, f"SELECT * FROM price_return({KEY}, {between(1, 4)})")
    assert [one[0] for one in rows] == DAYS[1:4]
    assert [one[1] for one in rows] == CLOSES[1:4]
    assert [one[2] for one in rows] == pytest.approx([0.1, -0.1, 0.1])
    assert [one[3] for one in rows] == pytest.approx([math.log(1.1), math.log(0.9), math.log(1.1)])
    assert [one[4] for one in rows] == pytest.approx([0.1, -0.01, 0.089])


async def test_the_first_bar_of_all_has_no_return(acme):
    (first, *_) = await fetch(acme, f"SELECT * FROM price_return({KEY}, {between(0, 7)})")
    assert first == (DAYS[0], 100.0, None, None, 0.0)


async def test_steps_return_from_their_last_closes_and_compound(acme):
    rows = await fetch(acme, f"SELECT * FROM price_return({KEY}, {between(1, 7)}, '2 days')")
    assert [one[1] for one in rows][-1] == CLOSES[-1]
    assert (
        math.prod(1 + one[2] for one in rows) == pytest.approx(1 + rows[-1][4]) == pytest.approx(98.01 / 100)
    )
    assert rows[0][0] == DAYS[1]


async def test_candles_of_a_step_are_those_of_its_bars(acme):
    (week,) = await fetch(acme, f"SELECT * FROM price_candle({KEY}, {between(0, 7)}, '7 days')")
    assert week == (DAYS[0], 100.0, 111.0, 48.005, 98.01, 70.0)
    days = await fetch(acme, f"SELECT ts, close FROM price_candle({KEY}, {between(0, 7)}, '1 hour')")
    assert days == list(zip(DAYS, CLOSES, strict=True))
    (middle,) = await fetch(
        acme, f"SELECT ts, open, close FROM price_candle({KEY}, {between(2, 5)}, '7 days')"
    )
    assert middle == (DAYS[2], 99.0, 98.01)


async def test_volatility_is_that_of_the_window_and_null_before_it(acme):
    logs = [math.log(after / before) for before, after in pairwise(CLOSES)]
    rows = await fetch(acme, f"SELECT * FROM rolling_volatility({KEY}, {between(0, 7)}, 3)")
    assert [one[1] for one in rows[:3]] == [None, None, None]
    expected = [statistics.stdev(logs[n : n + 3]) * math.sqrt(252) for n in range(4)]
    assert [one[1] for one in rows[3:]] == pytest.approx(expected)
    assert {one[2] for one in rows} == {252.0}
    late = await fetch(acme, f"SELECT * FROM rolling_volatility({KEY}, {between(5, 7)}, 3, 365)")
    assert [one[1] for one in late] == pytest.approx(
        [one / math.sqrt(252) * math.sqrt(365) for one in expected[2:]]
    )
    (last,) = await fetch(
        acme, f"SELECT * FROM rolling_volatility({KEY}, {between(0, 7)}, 3, NULL, '7 days')"
    )
    assert last[1] == pytest.approx(expected[-1])


@pytest.mark.parametrize("window", ["1", "1001", "NULL", "-5"])
async def test_a_window_out_of_bounds_is_refused(acme, window):
    async with acme.connection() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        with pytest.raises(asyncpg.InvalidParameterValueError, match="window_bars is 2 to 1000"):
            await raw.fetch(f"SELECT * FROM rolling_volatility({KEY}, {between(0, 7)}, {window})")


async def test_drawdown_starts_anew_with_the_range(acme):
    rows = await fetch(acme, f"SELECT * FROM drawdown({KEY}, {between(0, 7)})")
    assert [one[1] for one in rows] == [100.0, 110.0, 110.0, 110.0, 110.0, 110.0, 110.0]
    assert [one[2] for one in rows] == pytest.approx(
        [close / peak - 1 for close, (_, peak, _) in zip(CLOSES, rows, strict=True)]
    )
    late = await fetch(acme, f"SELECT peak, drawdown FROM drawdown({KEY}, {between(5, 7)})")
    assert late == [(49.005, 0.0), (98.01, 0.0)]
    (week,) = await fetch(acme, f"SELECT peak, drawdown FROM drawdown({KEY}, {between(0, 7)}, '7 days')")
    assert week == (110.0, pytest.approx(49.005 / 110 - 1))


async def test_prices_that_are_not_positive_have_no_returns(client, database):
    await add_instrument(client, asset_class="rate")
    await store(client, [row(f"2024-01-0{n}", close) for n, close in enumerate((-1.0, 0.0, 2.0, 4.0), 1)])
    rows = await fetch(
        database,
        f"SELECT simple_return, log_return, cumulative_return FROM price_return({KEY}, {between(0, 4)})",
    )
    assert rows == [(None, None, None)] * 3 + [(1.0, pytest.approx(math.log(2)), None)]
    falls = await fetch(database, f"SELECT drawdown FROM drawdown({KEY}, {between(0, 4)})")
    assert falls == [(None,), (None,), (0.0,), (0.0,)]
    volatile = await fetch(database, f"SELECT volatility FROM rolling_volatility({KEY}, {between(0, 4)}, 2)")
    assert volatile == [(None,)] * 4


async def test_movers_compare_with_the_close_before_the_range_or_else_the_first_in_it(acme):
    moved = "SELECT from_ts, from_close, to_ts, to_close, change, simple_return FROM price_change('1d', {})"
    (later,) = await fetch(acme, moved.format(between(1, 3)))
    assert later == (DAYS[0], 100.0, DAYS[2], 99.0, -1.0, pytest.approx(-0.01))
    (first,) = await fetch(acme, moved.format(between(-9, 2)))
    assert first == (DAYS[0], 100.0, DAYS[1], 110.0, 10.0, pytest.approx(0.1))
    assert await fetch(acme, moved.format(between(7, 9))) == []
    assert await fetch(acme, moved.format(between(1, 3)).replace("1d", "1h")) == []


async def test_the_last_bar_stands_beside_the_close_before_it(acme):
    (last,) = await fetch(
        acme, "SELECT ts, close, volume, previous_ts, previous_close, change, simple_return FROM v_latest"
    )
    assert last == (DAYS[6], 98.01, 10.0, DAYS[5], 49.005, pytest.approx(49.005), pytest.approx(1.0))


async def test_a_single_bar_without_volume_is_a_last_bar_too(client, database):
    await add_instrument(client)
    await store(client, [row("2024-01-01T09:00:00Z", volume=None)], interval="1h")
    rows = await fetch(
        database, "SELECT interval, close, volume, previous_close, simple_return FROM v_latest"
    )
    assert rows == [("1h", 10.0, None, None, None)]


@pytest.mark.parametrize(
    ("interval", "asset_class", "expected"),
    [
        ("1d", "equity", 252),
        ("1d", "crypto", 365),
        ("1w", "fx", 52),
        ("1mo", "crypto", 12),
        ("1h", "equity", 252 * 6.5),
        ("1m", "crypto", 365 * 1440),
        ("15m", "fx", 252 * 96),
    ],
)
async def test_bars_in_a_year(database, interval, asset_class, expected):
    assert await fetch(database, f"SELECT periods_per_year('{interval}', '{asset_class}')") == [(expected,)]


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
@pytest.mark.parametrize(
    ("interval", "start", "end"),
    [
        ("1m", "2024-03-10 06:59", "2024-03-10 07:00"),
        ("4h", "2024-03-10 04:00", "2024-03-10 08:00"),
        ("1d", "2024-03-10 00:00", "2024-03-11 00:00"),
        ("1w", "2024-03-04 00:00", "2024-03-11 00:00"),
        ("1mo", "2024-01-01 00:00", "2024-02-01 00:00"),
        ("1mo", "2024-02-01 00:00", "2024-03-01 00:00"),
    ],
)
async def test_a_bar_ends_in_utc_wherever_the_reader_is(database, zone, interval, start, end):
    async with database.connection() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        async with raw.transaction():
            await raw.execute(f"SET LOCAL TimeZone = '{zone}'")
            found = await raw.fetchval(f"SELECT bar_end('{start}+00'::timestamptz, '{interval}')")
    assert found == datetime.fromisoformat(f"{end}+00:00")


DUE = """
    SELECT due_at, stale FROM v_freshness
    """


@pytest.mark.parametrize(
    ("interval", "asset_class", "last", "due"),
    [
        ("1d", "equity", "2024-01-04", "2024-01-06"),  # a Thursday: Friday's bar is over when Saturday begins
        ("1d", "equity", "2024-01-05", "2024-01-09"),  # a Friday: Monday's
        ("1d", "crypto", "2024-01-05", "2024-01-07"),
        ("1w", "equity", "2024-01-01", "2024-01-15"),
        ("1mo", "fx", "2024-01-01", "2024-03-01"),
        ("1h", "equity", "2024-01-05T20:00:00Z", "2024-01-08T21:00:00Z"),
        ("1h", "crypto", "2024-01-05T20:00:00Z", "2024-01-05T22:00:00Z"),
    ],
)
async def test_the_next_bar_is_due_after_the_weekend(client, database, interval, asset_class, last, due):
    await add_instrument(client, asset_class=asset_class)
    await store(client, [row(last)], interval=interval)
    ((due_at, stale),) = await fetch(database, DUE)
    assert due_at == datetime.fromisoformat(due).replace(tzinfo=UTC)
    assert stale
    await client.patch("/api/v1/instruments/1", json={"active": False})
    assert [stale for _, stale in await fetch(database, DUE)] == [False]


async def test_a_series_of_yesterday_is_fresh(client, database):
    await add_instrument(client, asset_class="crypto")
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    await store(client, [row(yesterday)])
    (found,) = await fetch(database, "SELECT overdue, stale, age < interval '25 hours' FROM v_freshness")
    assert found == (timedelta(0), False, True)


async def test_growth_is_counted_by_the_day_and_summed(client, acme):
    await store(client, [row("2024-02-01"), row("2024-01-01", 101.0)])
    rows = await fetch(acme, "SELECT runs, inserted, updated, rejected, bars FROM v_growth ORDER BY day")
    assert [sum(column) for column in zip(*rows, strict=True)][:4] == [2, 8, 1, 0]
    assert rows[-1][4] == 8


async def test_storage_tells_the_size_of_each_table(acme):
    rows = await fetch(
        acme, "SELECT table_name, kind, bars, total_bytes, bytes_per_bar, compression_ratio FROM v_storage"
    )
    named = {one[0]: one[1:] for one in rows}
    assert len(named) == 14
    kind, bars, total, per_bar, ratio = named["market_price_daily"]
    assert (bars, per_bar) == (7, total / 7)
    assert kind in {"table", "hypertable"}
    assert ratio is None
    raw = await asyncpg.connect(acme.url.replace("+asyncpg", ""))
    exact = "SELECT sum(pg_total_relation_size(oid::regclass)) FROM pg_class WHERE relname = 'instrument'"
    assert named["instrument"][2] == await raw.fetchval(exact)
    await raw.close()


async def test_storage_counts_the_chunks_of_a_hypertable(empty_url):
    """Whose own files are empty: what TimescaleDB says is what the view says."""
    database = Database(empty_url)
    async with as_owner(database) as owner:
        try:
            await owner.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        except (asyncpg.FeatureNotSupportedError, asyncpg.UndefinedFileError):
            pytest.skip("not run: this server has no TimescaleDB, whose chunks v_storage would count")
        await migrations.upgrade(database)
        await owner.execute("DROP TRIGGER IF EXISTS bars_have_series ON market_price_daily")
        await owner.execute(
            "SELECT create_hypertable('market_price_daily', by_range('ts', INTERVAL '1 year'), "
            "if_not_exists => true)"
        )
        await owner.execute(
            """
            INSERT INTO instrument (symbol, exchange, asset_class, currency)
                VALUES ('A', 'X', 'equity', 'USD');
            INSERT INTO series (instrument_id, interval, source, basis, bar_count, first_ts, last_ts)
                VALUES (1, '1d', 'api', 'raw', 3653, '2010-01-01Z', '2020-01-01Z');
            INSERT INTO market_price_daily SELECT 1, n, 1, 1, 1, 1, 1, 1
                FROM generate_series('2010-01-01Z'::timestamptz, '2020-01-01Z', interval '1 day') n
            """
        )
        found = await owner.fetchrow("SELECT * FROM v_storage WHERE table_name = 'market_price_daily'")
        size = await owner.fetchval("SELECT hypertable_size('market_price_daily')")
    await database.close()
    assert (found["kind"], found["bars"], found["total_bytes"]) == ("hypertable", 3653, size)
    assert found["bytes_per_bar"] == size / 3653 > 50
    assert found["chunks"] >= 2
