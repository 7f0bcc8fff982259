"""Homes: a plain table beside a hypertable, before and after its chunks become columns; and types of columns.

Needs a full TimescaleDB at TEST_TIMESCALE_URL. Both tables lie on that server, with the same rows.
"""

import asyncio
import csv
import io
import os
import secrets
import statistics
import time
import zipfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby
from pathlib import Path

import asyncpg
import numpy as np

from benchmarks import data
from benchmarks.measure import Result
from market_data.core.bars import Bars
from market_data.core.interval import Interval, aware
from market_data.db import migrations
from market_data.db.binary_copy import HEADER, TRAILER, RowFormat
from market_data.db.column_block import encode
from market_data.db.layout import Layout
from market_data.db.session import Database
from market_data.repositories.market_price_sql import gathered
from market_data.repositories.price_block import block_numbers

GROUP = "TimescaleDB beside a plain table"
TYPES = "Bytes a bar of real minutes"
SERIES, MINUTES = 8, 130_000
"""Three months of eight series."""
_FORMAT = RowFormat("int4", "timestamptz", "float8", "float8", "float8", "float8", "float8", "int4")
_PLAIN, _HYPER = "plain_price_intraday", "market_price_intraday"
_DAY = timedelta(days=1)
SHARED = Path(__file__).parents[2] / "shared" / "data"


@asynccontextmanager
async def _database(url: str) -> AsyncIterator[str]:
    """Make a database of this program on a server, with a plain table like that of minutes."""
    name = f"bench_{secrets.token_hex(4)}"
    base = url.replace("+asyncpg", "")
    admin = await asyncpg.connect(base)
    await admin.execute(f"CREATE DATABASE {name}")
    address = f"{base.rsplit('/', 1)[0]}/{name}"
    try:
        database = Database(address)
        await migrations.upgrade(database, layout=Layout())
        await database.close()
        yield address
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


async def _copy(connection: asyncpg.Connection, table: str, parts: Sequence[tuple[int, Bars]]) -> float:
    """Write series by series, as a loader does, and return the seconds."""
    rows = b"".join(
        _FORMAT.encode(np.full(len(b), n, "int32"), *b.columns(), np.full(len(b), 1, "int32"))
        for n, b in parts
    )
    began = time.perf_counter()
    await connection.copy_to_table(
        table, source=io.BytesIO(HEADER + rows + TRAILER), format="binary", columns=list(_COLUMNS)
    )
    return time.perf_counter() - began


_FIGURES = ("open", "high", "low", "close", "volume")
_COLUMNS = ("series_id", "ts", *_FIGURES, "run_id")


async def _time(connection: asyncpg.Connection, query: str, asked: Sequence[tuple[object, ...]]) -> float:
    """Return the median seconds of a prepared statement."""
    statement = await connection.prepare(query)
    taken = []
    for values in asked:
        began = time.perf_counter()
        await statement.fetch(*values)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _asked() -> dict[str, tuple[str, list[tuple[object, ...]]]]:
    """Return the statements to time, with `{table}` left open, and values to ask with."""
    chosen, first = np.random.default_rng(3), aware(data.FIRST)
    series = [int(one) + 1 for one in chosen.integers(SERIES, size=40)]
    days = [first + int(one) * _DAY for one in chosen.integers(80, size=40)]
    span = "SELECT * FROM {table} WHERE series_id = $1 AND ts >= $2 AND ts < $3 ORDER BY ts"
    ranged = f"SELECT {gathered()} FROM ({span}) r"
    newest = "SELECT * FROM {table} WHERE series_id = $1 ORDER BY ts DESC LIMIT 1"
    return {
        "100k bars": (ranged, [(one, first, first + timedelta(minutes=100_000)) for one in series[:8]]),
        "one day": (ranged, [(one, day, day + _DAY) for one, day in zip(series, days, strict=True)]),
        "latest": (newest, [(one,) for one in series]),
    }


async def _compare(connection: asyncpg.Connection, what: str, times: int) -> list[Result]:
    results = []
    for name, (query, values) in _asked().items():
        rounds: tuple[list[float], list[float]] = ([], [])
        for number in range(times + 1):
            for seconds, table in zip(rounds, (_HYPER, _PLAIN), strict=True):
                taken = await _time(connection, query.format(table=table), values)
                if number:  # the first round warms up
                    seconds.append(taken)
        goal = {"100k bars": 1.1, "one day": 1.3, "latest": 2.5}[name]
        results.append(Result(f"{name}, {what}", GROUP, *rounds, "plain table", goal=goal))
    return results


async def _tables(url: str, times: int) -> list[Result]:
    made = [(number + 1, data.bars(number, MINUTES)) for number in range(SERIES)]
    copied: tuple[list[float], list[float]] = ([], [])
    async with _database(url) as address:
        generic = {"plan_cache_mode": "force_generic_plan"}  # as the readers of the program have it
        connection = await asyncpg.connect(address, server_settings=generic)
        await connection.execute(f"CREATE TABLE {_PLAIN} (LIKE {_HYPER} INCLUDING ALL)")
        for _ in range(times + 1):
            for seconds, table in zip(copied, (_HYPER, _PLAIN), strict=True):
                await connection.execute(f"TRUNCATE {table}")
                seconds.append(await _copy(connection, table, made))
        results = [Result("COPY of new bars", GROUP, copied[0][1:], copied[1][1:], "plain table", goal=1.25)]
        await connection.execute(f"VACUUM (ANALYZE) {_HYPER}, {_PLAIN}")
        results += await _compare(connection, "rows in chunks", times)
        await _columns(connection, _HYPER)
        results += await _compare(connection, "columnstore", times)
        await connection.execute(
            "INSERT INTO market_price_daily SELECT 1, day, 1, 1, 1, 1, 1, 1 "
            "FROM generate_series('2004-01-01'::timestamptz, '2024-01-01', '1 day') AS day"
        )
        days = "SELECT * FROM market_price_daily WHERE series_id = 1 AND ts >= '2004-01-01' ORDER BY ts"
        planned = []
        for _ in range(20):
            began = time.perf_counter()
            await connection.fetch(f"EXPLAIN {days}")
            planned.append(time.perf_counter() - began)
        results.append(Result("planning 20 years of days", GROUP, planned, goal=0.010))
        await connection.close()
    return results


async def _columns(connection: asyncpg.Connection, table: str) -> None:
    """Turn every chunk into columns."""
    await connection.execute(
        f"ALTER TABLE {table} SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'series_id', "
        "timescaledb.orderby = 'ts')"
    )
    await connection.execute(f"SELECT compress_chunk(c) FROM show_chunks('{table}') c")
    await connection.execute(f"VACUUM (ANALYZE) {table}")


Row = tuple[int, datetime, str, str, str, str, str]
"""Series, start, and five figures as they were published."""


def real_minutes(folder: Path = SHARED) -> list[Row]:
    """Read recorded minutes: futures of an exchange's archive, and days of stocks, currencies and coins."""
    rows: list[Row] = []
    archive = folder / "binance/public_data/futures_um_ALGOUSDT-1m-2024-02.csv"
    if not archive.exists():
        return rows
    with archive.open() as file:
        for one in csv.DictReader(file):
            start = aware(np.datetime64(int(one["open_time"]), "ms").astype("datetime64[us]"))
            rows.append((1, start, one["open"], one["high"], one["low"], one["close"], one["volume"]))
    paths = sorted(folder.glob("lean/*/*/minute/*/*_trade.zip"))
    numbers = {one: number for number, one in enumerate(sorted({path.parent for path in paths}), 2)}
    for path in paths:
        number = numbers[path.parent]
        with zipfile.ZipFile(path) as archived:
            day = np.datetime64(f"{path.name[:4]}-{path.name[4:6]}-{path.name[6:8]}", "ms")
            scale = 10_000 if "equity" in path.parts else 1
            for line in archived.read(archived.namelist()[0]).decode().splitlines():
                after, *figures = line.split(",")
                prices = [f"{float(one) / scale:.10g}" for one in figures[:4]]
                start = aware((day + np.timedelta64(int(after), "ms")).astype("datetime64[us]"))
                rows.append((number, start, *prices, figures[4]))  # type: ignore[arg-type] # four prices
    return rows


_SCALE = 10**8
_KINDS = ("float8", "numeric", "bigint")


def _value(kind: str, text: str) -> object:
    if kind == "float8":
        return float(text)
    return Decimal(text) if kind == "numeric" else int(Decimal(text) * _SCALE)


async def _types(url: str) -> list[Result]:
    rows = real_minutes()
    results = []
    async with _database(url) as address:
        connection = await asyncpg.connect(address)
        for kind in _KINDS if rows else ():
            table = f"of_{kind}"
            figures = ", ".join(f"{name} {kind} NOT NULL" for name in _FIGURES)
            await connection.execute(
                f"CREATE TABLE {table} (series_id int, ts timestamptz, {figures}, run_id int, "
                "PRIMARY KEY (series_id, ts))"
            )
            await connection.execute(
                f"SELECT create_hypertable('{table}', by_range('ts', interval '30 days'), "
                "create_default_indexes => false)"
            )
            records = [(n, ts, *(_value(kind, one) for one in texts), 1) for n, ts, *texts in rows]
            await connection.copy_records_to_table(table, records=records)
            before = await _bytes(connection, kind) / len(rows)
            await _columns(connection, f"of_{kind}")
            after = await _bytes(connection, kind) / len(rows)
            results.append(Result(f"{kind}, rows", TYPES, [before], unit="B"))
            results.append(
                Result(f"{kind}, columnstore", TYPES, [after], unit="B", extra={"smaller by": before / after})
            )
        await connection.close()
    if rows:
        results.append(Result("column index, doubles", TYPES, [_column_index(rows) / len(rows)], unit="B"))
    return results


def _column_index(rows: Sequence[Row]) -> int:
    """Return the bytes of the program's own blocks of columns."""
    size = 0
    for _, one in groupby(sorted(rows), lambda row: row[0]):
        _, starts, *figures = zip(*one, strict=True)
        ts = np.array([start.replace(tzinfo=None) for start in starts], "datetime64[us]")
        bars = Bars(ts, *(np.array(column, "float64") for column in figures))
        numbers = block_numbers(Interval.M1, ts)
        size += sum(len(encode(bars.take(numbers == number))) for number in np.unique(numbers))
    return size


async def _bytes(connection: asyncpg.Connection, kind: str) -> float:
    size: int = await connection.fetchval(f"SELECT total_bytes FROM hypertable_detailed_size('of_{kind}')")
    return size


def homes(times: int) -> Iterator[Result]:
    """Compare, where there is a full TimescaleDB."""
    url = os.environ.get("TEST_TIMESCALE_URL")
    if url is None:
        print("not run: homes: TEST_TIMESCALE_URL names no full TimescaleDB")
        return
    yield from asyncio.run(_tables(url, times))
    yield from asyncio.run(_types(url))
