"""The queue worked off without a worker: one job after the other, in this process, until it is empty."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import msgspec
import numpy as np
from pgqueuer.ports.repository import EntrypointExecutionParameter
from sqlalchemy import text

from market_data.core.vocabulary import AssetClass, JobKind
from market_data.db.liveness import Liveness
from market_data.db.queue import queue_of
from market_data.db.session import Database
from market_data.etl.provider import Listing, Page, ProviderSpec
from market_data.etl.raw import RawBars
from market_data.etl.registry import providers
from market_data.repositories.job import entrypoint
from market_data.services.jobs import Attempt, JobRunner

LISTING = Listing(symbol="EURUSD", asset_class=AssetClass.FX, currency="USD", exchange="FX")
CRYPTO = Listing(symbol="BTCUSDT", asset_class=AssetClass.CRYPTO, currency="USDT", exchange="BINANCE")
_EVERYTHING = {
    entrypoint(kind, name): EntrypointExecutionParameter(0)
    for name in (*providers(), None)
    for kind in JobKind
}


@dataclass(frozen=True)
class Done:
    """A job that was done, and what stopped it, where something did."""

    id: int
    kind: str
    error: Exception | None = None


async def drain(database: Database, open_client, *, last: bool = True) -> list[Done]:
    """Do all jobs that are due, in the queue's order; what fails is held as a dead letter."""
    done: list[Done] = []
    liveness, connection = Liveness(database), await database.connect()
    runner = JobRunner(database, liveness, {}, open_client)
    queue = queue_of(connection)
    try:
        while jobs := await queue.dequeue(1, _EVERYTHING, uuid4(), None, timedelta(seconds=30)):
            (job,) = jobs
            kind, error = JobKind(job.entrypoint.partition(":")[0]), None
            attempt = Attempt(job.id, kind, msgspec.json.decode(job.payload or b"{}"), last)
            try:
                await runner.run(attempt)
            except Exception as failure:  # noqa: BLE001 # the test looks at it
                error = failure
            await queue.log_jobs([(job, "failed" if error else "successful", None)])
            done.append(Done(job.id, str(kind), error))
    finally:
        await connection.close()
        await liveness.close()
    return done


async def pick(database: Database, job_id: int) -> None:
    """Let a job look as if a worker did it."""
    async with database.engine.begin() as connection:
        await connection.execute(
            text("UPDATE market_data_queue.pgqueuer SET status = 'picked', heartbeat = now() WHERE id = :id"),
            {"id": job_id},
        )


async def finish(database: Database, job_id: int) -> None:
    """Take a job out of the queue, as a worker does that has done it."""
    async with database.engine.begin() as connection:
        await connection.execute(
            text("DELETE FROM market_data_queue.pgqueuer WHERE id = :id"), {"id": job_id}
        )


def page(closes: dict[str, float], listing: Listing = LISTING, rejections=()) -> Page:
    """A page of bars whose four prices are the same."""
    column = np.array(list(closes.values()), "float64")
    nothing = np.zeros(len(column), bool)
    rows = RawBars(
        stamp=np.array(list(closes), "datetime64[us]"),
        open=column,
        high=column,
        low=column,
        close=column,
        volume=np.full(len(column), np.nan),
        text=lambda row: f"row {row}",
        running=nothing,
        unreadable=nothing,
    )
    return Page(rows=rows, listing=listing, rejections=list(rejections))


class Fake:
    """A provider that answers what a test put under a symbol: pages, or an error to raise between them."""

    def __init__(self, name: str = "ecb") -> None:
        self.spec: ProviderSpec = providers()[name].spec
        self.answers: dict[str, list] = {}
        self.asked = []
        self.started = asyncio.Event()

    async def fetch_bars(self, request):
        self.asked.append(request)
        self.started.set()
        for answer in self.answers[request.symbol]:
            if isinstance(answer, Exception):
                raise answer
            if answer == "hang":
                await asyncio.Event().wait()
            yield answer

    @asynccontextmanager
    async def open(self, provider):
        assert provider == self.spec.name
        yield self
