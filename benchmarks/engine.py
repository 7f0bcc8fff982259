"""The engine: a worker that keeps a watchlist, against the same bars posted by hand; and planning much."""

import asyncio
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
from sqlalchemy import text
from tests.support.fleet import Fleet, days_ago, watchlist
from tests.support.replay_market import Market, bars
from tests.support.replay_process import Replay

from benchmarks.lab import Lab, Psql, add_instrument, ours
from benchmarks.measure import Result
from benchmarks.writes import binary, post
from market_data.core.bars import Bars
from market_data.core.interval import Interval
from market_data.db import migrations
from market_data.db.session import Database
from market_data.services.scheduler import Scheduler

GROUP = "Engine"
SYMBOLS = 8
SUBSCRIPTIONS = 10_000
END = days_ago(2)
MARKET = Market(until=END)
_ENGINE, _POST, _COPY = "engine", "the same posted as ndjson", "psql \\copy binary"
_FORGET = (
    "TRUNCATE market_price_intraday, price_block, coverage;",
    "UPDATE series SET first_ts = NULL, last_ts = NULL, bar_count = 0;",
    "DELETE FROM market_data_queue.pgqueuer;",
    "VACUUM (ANALYZE);",
    "CHECKPOINT;",
)


@dataclass(frozen=True)
class _Task:
    """A watchlist, and the same bars under names of instruments that no provider has."""

    since: datetime
    names: Sequence[str]
    plain: Mapping[str, Bars]

    @property
    def rows(self) -> int:
        return sum(map(len, self.plain.values()))


def engine(stored: Lab, size: int, times: int) -> Iterator[Result]:
    """Plan, ask over HTTP, validate, store and note a watchlist; then planning alone.

    The vendor is a process of the same machine, and takes its share of the processors.
    """
    since, names = END - timedelta(minutes=size // SYMBOLS), watchlist(SYMBOLS)
    made = {f"PLAIN{one}": bars(one, Interval.M1, since, END, MARKET) for one in names}
    task = _Task(since, names, made)
    asyncio.run(_prepare(stored, list(made)))
    taken = _taken(stored, task, times)
    speeds = {path: [task.rows / seconds for seconds in found] for path, found in taken.items()}
    for told, goal in ((_POST, 0.5), (_COPY, None)):
        name = f"{task.rows:,} bars of a watchlist, and {told}"
        yield Result(
            name, GROUP, speeds[_ENGINE], speeds[told], told, unit="bars/s", goal=goal, more_is_better=True
        )
    planned = asyncio.run(_planned(stored, times))
    yield Result(f"{SUBSCRIPTIONS:,} subscriptions become jobs", GROUP, planned, goal=2.0)


async def _prepare(stored: Lab, symbols: Sequence[str]) -> None:
    database = Database(stored.url)
    await migrations.upgrade(database)
    for one in symbols:
        await add_instrument(database, one)
    await database.close()


def _taken(stored: Lab, task: _Task, times: int) -> dict[str, list[float]]:
    """Return the seconds of each path, in turns; the first round does not count."""
    found: dict[str, list[float]] = {_ENGINE: [], _POST: [], _COPY: []}
    body = _ndjson(task.plain)
    with tempfile.TemporaryDirectory() as folder, closing(stored.psql()) as psql:
        path = Path(folder) / "rows.bin"
        for round_ in range(times + 1):
            seconds = {}
            _forget(psql)
            seconds[_POST] = _posted(stored, body, task.rows)
            if not round_:
                asyncio.run(stored.read_series())
                binary(stored, dict(task.plain), path)
            _forget(psql)
            seconds[_COPY] = psql.time(f"\\copy market_price_intraday from '{path}' with (format binary)")
            _forget(psql)
            seconds[_ENGINE] = _worked(stored, task, Path(folder))
            if round_:
                for name, value in seconds.items():
                    found[name].append(value)
    return found


def _forget(psql: Psql) -> None:
    for one in _FORGET:
        psql.time(one)


def _posted(stored: Lab, body: bytes, rows: int) -> float:
    with closing(ours(stored.url, JOBS_AT_ONCE="0")) as api:
        seconds, counts = post(api, "ndjson", body)
    assert counts["inserted"] == rows, counts
    return seconds


def _worked(stored: Lab, task: _Task, folder: Path) -> float:
    """Return the seconds from the first request of one worker until all is stored and noted."""
    with Replay(MARKET) as replay, Fleet(stored.url, replay.url, folder, jobs=SYMBOLS) as workers:
        workers.subscribe(task.names, task.since)
        workers.begin()
        workers.wait(END, 600)
        seconds = time.time() - replay.stats()["first_request"]
        stored_rows = workers.ask("SELECT count(*) FROM market_price_intraday")[0][0]
    assert stored_rows == task.rows, stored_rows
    return seconds


def _ndjson(made: Mapping[str, Bars]) -> bytes:
    names = ("ts", "open", "high", "low", "close", "volume")
    frame = pl.concat(
        pl.DataFrame({"symbol": [symbol] * len(found), **{name: getattr(found, name) for name in names}})
        for symbol, found in made.items()
    )
    return frame.with_columns(pl.col("ts").dt.strftime("%Y-%m-%dT%H:%M:%SZ")).write_ndjson().encode()


async def _planned(stored: Lab, times: int) -> list[float]:
    """Return the seconds in which many subscriptions that are due become jobs."""
    database = Database(stored.url)
    add = text("""
        INSERT INTO subscription (provider, symbol, interval, since)
        SELECT 'binance', 'D' || n, '1m', now() FROM generate_series(1, :count) AS n
        """)
    async with database.session() as session:
        await session.execute(text("DELETE FROM subscription"))
        await session.execute(add, {"count": SUBSCRIPTIONS})
    found = []
    for _ in range(times):
        async with database.session() as session:
            await session.execute(text("DELETE FROM market_data_queue.pgqueuer"))
            await session.execute(text("UPDATE subscription SET due_at = now()"))
        began = time.perf_counter()
        made = await Scheduler(database).tick()
        found.append(time.perf_counter() - began)
        assert made >= SUBSCRIPTIONS, made
    await database.close()
    return found
