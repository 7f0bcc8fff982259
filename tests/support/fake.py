"""A provider that answers what a test says, and the queue worked off with it."""

import asyncio
from contextlib import asynccontextmanager

import numpy as np
from sqlalchemy import text

from market_data.core.vocabulary import AssetClass
from market_data.db.session import Database
from market_data.etl.provider import Listing, Page, ProviderSpec
from market_data.etl.raw import RawBars
from market_data.etl.registry import providers
from market_data.services.worker import Patience
from tests.support.work import Done, Hands

LISTING = Listing(symbol="EURUSD", asset_class=AssetClass.FX, currency="USD", exchange="FX")
CRYPTO = Listing(symbol="BTCUSDT", asset_class=AssetClass.CRYPTO, currency="USDT", exchange="BINANCE")


async def drain(database: Database, open_client) -> list[Done]:
    """Do all jobs that are due, in the queue's order; what fails is given up at once."""
    async with Hands(database, open_client, Patience(attempts=1)) as hands:
        await hands.drain()
        return hands.done


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
