"""Growth: the same requests while the table grows from a million bars to many, and what a bar takes."""

import asyncio
import statistics
from collections.abc import AsyncIterator, Iterator
from contextlib import closing

import asyncpg
import numpy as np

from benchmarks import data
from benchmarks.lab import SOURCE, Api, Lab, add_instrument, ours, recount, seal
from benchmarks.measure import Result
from market_data.db import migrations
from market_data.db.binary_copy import HEADER, TRAILER, RowFormat
from market_data.db.session import Database

GROUP = "Growth"
SERIES = 20
SMALL = 1_000_000
STEP = 5_000
"""Minutes written at a time: a table filled by the clock scatters each series over all of its pages."""
_FORMAT = RowFormat("int4", "timestamptz", "float8", "float8", "float8", "float8", "float8", "int4")
_FIELDS = ("ts", "open", "high", "low", "close", "volume")
_DAY = np.timedelta64(1, "D")
_ASKED = 30
_NEW_SERIES = (
    "INSERT INTO series (instrument_id, interval, source, basis) VALUES ($1, '1m', $2, 'raw') RETURNING id"
)


def _rows(ids: list[int], first: int, minutes: int) -> bytes:
    """Make the rows of some minutes of all series, in order of time."""
    parts = [data.bars(first + n, minutes, data.FIRST + first * data.MINUTE) for n in range(len(ids))]
    columns = [np.stack([getattr(part, name) for part in parts], 1).ravel() for name in _FIELDS]
    return _FORMAT.encode(
        np.tile(np.array(ids, "int32"), minutes), *columns, np.full(len(columns[0]), 1, "int32")
    )


async def _grow(url: str, ids: list[int], first: int, end: int) -> None:
    """Write minutes by the clock, past the program."""
    connection = await asyncpg.connect(url)

    async def pieces() -> AsyncIterator[bytes]:
        yield HEADER
        for start in range(first, end, STEP):
            yield _rows(ids, start, min(STEP, end - start))
        yield TRAILER

    await connection.copy_to_table("market_price_intraday", source=pieces(), format="binary")
    await connection.close()


async def _prepare(url: str) -> list[int]:
    database = Database(url)
    await migrations.upgrade(database)
    keys = [await add_instrument(database, f"GROW{number:02d}") for number in range(SERIES)]
    await database.close()
    connection = await asyncpg.connect(url)
    ids = [await connection.fetchval(_NEW_SERIES, key.instrument_id, SOURCE) for key in keys]
    await connection.close()
    return ids


def _ask(api: Api, minutes: int, times: int) -> dict[str, list[float]]:
    """Ask for random days, months and newest bars; the median seconds of each round."""
    chosen = np.random.default_rng(2)

    def path(days: int) -> str:
        first = data.FIRST.astype("datetime64[D]") + chosen.integers(minutes // 1440 - days) * _DAY
        span = f"start={first}&end={first + days * _DAY}"
        return f"/api/v1/prices?symbols=GROW{chosen.integers(SERIES):02d}&interval=1m&format=arrow&{span}"

    def latest() -> str:
        return f"/api/v1/prices/latest?symbols=GROW{chosen.integers(SERIES):02d}&interval=1m"

    found: dict[str, list[float]] = {}
    for name, make in {"one day": lambda: path(1), "a month": lambda: path(30), "latest": latest}.items():
        rounds = [statistics.median(api.get(make())[1] for _ in range(_ASKED)) for _ in range(times + 1)]
        found[name] = rounds[1:]
    return found


def _measured(url: str, minutes: int, times: int) -> dict[str, list[float]]:
    """Ask before and after sealing."""
    recount(url)
    with closing(ours(url)) as api:
        found = {f"{name}, from rows": seconds for name, seconds in _ask(api, minutes, times).items()}
        seal(url)
        return found | {f"{name}, sealed": seconds for name, seconds in _ask(api, minutes, times).items()}


def growth(lab: Lab, size: int, times: int) -> Iterator[Result]:
    """Random days, months and newest bars of a table of `size` bars, against one of a million."""
    ids = asyncio.run(_prepare(lab.url))
    small, large = SMALL // SERIES, size // SERIES
    asyncio.run(_grow(lab.url, ids, 0, small))
    asyncio.run(lab.read_series())
    before = _measured(lab.url, small, times)
    asyncio.run(_grow(lab.url, ids, small, large))
    asyncio.run(lab.read_series())
    after = _measured(lab.url, large, times)
    for name, seconds in after.items():
        goal = None if "month" in name else 1.3
        yield Result(f"{name}: {size:,} bars", GROUP, seconds, before[name], f"{SMALL:,} bars", goal=goal)
    for table, per_bar in asyncio.run(_bytes_per_bar(lab.url, size)).items():
        yield Result(f"bytes a bar: {table}", GROUP, [per_bar], unit="B")


async def _bytes_per_bar(url: str, size: int) -> dict[str, float]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(
        "SELECT 'rows', pg_table_size('market_price_intraday') UNION ALL "
        "SELECT 'key', pg_indexes_size('market_price_intraday') UNION ALL "
        "SELECT 'column index', pg_total_relation_size('price_block')"
    )
    await connection.close()
    return {name: taken / size for name, taken in rows}
