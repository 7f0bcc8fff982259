"""Worker processes of one database: started, killed, stopped, and waited for until nothing is left to do."""

import asyncio
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import asyncpg
import numpy as np

from market_data.core.bars import Bars
from market_data.core.interval import Interval
from market_data.db import migrations
from market_data.db.session import Database, libpq_url
from market_data.services.subscription import SubscriptionRequest, SubscriptionService
from tests.support.command import clean_environment, start, until
from tests.support.replay_market import Market, bars

SECONDS = 60.0
"""How long is waited for anything, unless told otherwise."""
_READY = "working: up to"
_ANSWERED = """
    SELECT count(*) FROM subscription u WHERE NOT EXISTS (
        SELECT FROM coverage c WHERE c.series_id = u.series_id AND c.state = 'answered'
        AND c.start_ts <= u.since AND c.end_ts >= $1)
    """
_BARS = """
    SELECT (extract(epoch FROM p.ts) * 1000000)::bigint, p.open, p.high, p.low, p.close, p.volume
    FROM market_price_intraday p JOIN subscription u USING (series_id) WHERE u.symbol = $1 ORDER BY p.ts
    """


@dataclass
class WorkerProcess:
    """`market-data worker`, and what it says."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    @property
    def working(self) -> bool:
        assert self.process.poll() is None, self.said
        return _READY in self.said


class Fleet:
    """A context manager over a migrated database; what is still alive at its end is killed.

    For tests that are no coroutines: it asks the database over a connection and a loop of its own.
    """

    def __init__(
        self,
        url: str,
        vendor_url: str,
        folder: Path,
        *,
        jobs: int = 2,
        requests_per_minute: float = 1_000_000,
        timeout: int = 3,
    ) -> None:
        self.url = url
        self.jobs = jobs
        self.workers: list[WorkerProcess] = []
        self._folder = folder
        self._started = 0
        self._runner = asyncio.Runner()
        self._connection: asyncpg.Connection | None = None
        self._env = clean_environment(
            DATABASE_URL=url,
            BINANCE_BASE_URL=vendor_url,
            BINANCE_REQUESTS_PER_MINUTE=str(requests_per_minute),
            WORKER_TIMEOUT_SECONDS=str(timeout),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        if self._connection is not None:
            self._connection.terminate()
        self._runner.close()

    def close(self) -> None:
        """Kill what is still alive."""
        for one in self.workers:
            one.process.kill()
        for one in self.workers:
            one.process.wait()
        self.workers.clear()

    def migrate(self) -> None:
        self._with_database(migrations.upgrade)

    def subscribe(self, symbols: Sequence[str], since: datetime) -> None:
        request = SubscriptionRequest(
            provider="binance", symbols=symbols, intervals=[Interval.M1], since=since
        )
        self._with_database(lambda database: SubscriptionService(database).subscribe(request))

    def start(self, count: int = 1) -> list[WorkerProcess]:
        """Start so many workers more, and return them when they work."""
        begun = [self.begin() for _ in range(count)]
        until(lambda: all(one.working for one in begun), "workers work", SECONDS)
        return begun

    def begin(self) -> WorkerProcess:
        """Start a worker without waiting until it works."""
        self._started += 1
        log = self._folder / f"worker {self._started}.log"
        with log.open("wb") as file:
            made = WorkerProcess(
                start("worker", "--jobs", self.jobs, env=self._env, stdout=file, stderr=file), log
            )
        self.workers.append(made)
        return made

    def kill(self, one: WorkerProcess) -> None:
        """End it as the kernel does: without a word."""
        one.process.kill()
        one.process.wait()
        self.workers.remove(one)

    def kill_one_of(self, random: np.random.Generator) -> None:
        """Kill a worker that works, and start another in its place."""
        found = until(lambda: [one for one in self.workers if one.working], "a worker works", SECONDS)
        self.kill(found[random.integers(len(found))])
        self.begin()

    def stop(self, one: WorkerProcess, seconds: float = 30) -> int:
        """Ask it to end, and return its exit code."""
        one.process.send_signal(signal.SIGTERM)
        self.workers.remove(one)
        return one.process.wait(seconds)

    def caught_up(self, end: datetime) -> bool:
        """Whether one range of the ledger reaches from each subscription's begin to an instant."""
        return not self.ask(_ANSWERED, end)[0][0]

    def wait(self, end: datetime, seconds: float = SECONDS) -> None:
        """Wait until all subscriptions are caught up."""
        try:
            until(lambda: self.caught_up(end), "caught up", seconds)
        except AssertionError:
            print(*(one.said[-3000:] for one in self.workers), sep="\n--\n")
            raise

    def active(self) -> int:
        """Count the processes that did something, living ones or not."""
        return self.ask("SELECT count(DISTINCT owner) FROM ingestion_run")[0][0]

    def bars(self, symbol: str) -> Bars:
        """Read what is stored."""
        rows = self.ask(_BARS, symbol)
        stamps, *values = zip(*rows, strict=True) if rows else ((),) * 6
        ts = np.array(stamps, "int64").astype("datetime64[us]")
        return Bars(ts, *(np.array(column, "float64") for column in values))

    def require_bars(self, symbols: Sequence[str], since: datetime, end: datetime, market: Market) -> int:
        """Compare all six columns of the table with the market's, row by row; return how many bars."""
        count = 0
        for symbol in symbols:
            found, expected = self.bars(symbol), bars(symbol, Interval.M1, since, end, market)
            assert len(found) == len(expected) > 0, symbol
            for column, wanted in zip(found.columns(), expected.columns(), strict=True):
                np.testing.assert_array_equal(column, wanted, err_msg=symbol)
            count += len(found)
        return count

    def require_ledger(self, since: datetime, end: datetime) -> None:
        """Find one answered range for each subscription, and no failed one."""
        rows = self.ask("""
            SELECT u.since, c.start_ts, c.end_ts FROM subscription u
            LEFT JOIN coverage c ON c.series_id = u.series_id AND c.state = 'answered' ORDER BY u.id""")
        subscriptions = self.ask("SELECT count(*) FROM subscription")[0][0]
        assert len(rows) == subscriptions, rows
        assert all(start == since and reached >= end for _, start, reached in rows), rows
        assert not self.ask("SELECT * FROM coverage WHERE state = 'failed'")

    def ask(self, query: str, *values: object) -> list[Any]:
        """Ask the database, anew where it was away."""
        return self._runner.run(self._ask(query, values))

    async def _ask(self, query: str, values: Sequence[object]) -> list[Any]:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(libpq_url(self.url))
        return await self._connection.fetch(query, *values)

    def _with_database(self, work: Any) -> None:
        async def run() -> None:
            database = Database(self.url)
            await work(database)
            await database.close()

        self._runner.run(run())


def days_ago(days: float) -> datetime:
    """Return a midnight long enough ago for all before it to be final."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=days)


def watchlist(count: int, first: int = 0) -> list[str]:
    return [f"S{number:04d}USDT" for number in range(first, first + count)]
