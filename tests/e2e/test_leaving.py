"""Clients that are killed or read slowly: a real server keeps its connections and its memory."""

import asyncio
import sys
from contextlib import ExitStack
from itertools import cycle, islice, product

import numpy as np
import pytest

from market_data.core.bars import Bars
from market_data.core.interval import Basis, Interval
from market_data.db.session import READERS
from market_data.repositories.market_price_writer import SeriesKey
from market_data.services.sealing import SealingService
from tests.support.bars import add_instruments, fetch, upsert
from tests.support.command import Serving, until
from tests.support.rude import RudeClient, resident, worked

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="not run: looks into /proc")

MEGABYTE = 1024**2
BARS = 200_000
PATH = "/api/v1/prices?symbols=S1&interval=1m&format="
STREAMS = [f"{PATH}json&limit={BARS}", *(f"{PATH}{name}" for name in ("ndjson", "csv", "arrow", "parquet"))]
BUSY = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND state IS DISTINCT FROM 'idle'"
)


@pytest.fixture
async def bars(database) -> Bars:
    """Minutes of prices that hardly compress, a third of them sealed."""
    chance = np.random.default_rng(1)
    open_, close = chance.integers(1, 10**12, (2, BARS)) / 10_000
    columns = (open_, np.maximum(open_, close), np.minimum(open_, close), close, np.arange(BARS) * 1.0)
    found = Bars(np.datetime64("1990-01-01", "us") + np.arange(BARS) * np.timedelta64(1, "m"), *columns)
    (number,) = await add_instruments(database)
    key = SeriesKey(number, Interval.M1, "api", Basis.RAW)
    await upsert(database, {key: found.take(slice(BARS // 3))})
    await SealingService(database).seal()
    await upsert(database, {key: found.take(slice(BARS // 3, None))})
    return found


@pytest.fixture
def serving(bars, stored, tmp_path):
    """A server that keeps no answers and seals nothing, so that its memory tells of streams alone."""
    env = stored | {"FRAME_CACHE_BYTES": "0", "SEAL_AFTER_SECONDS": "0", "LOG_LEVEL": "WARNING"}
    with Serving(env=env, log=tmp_path / "serve.log") as server:
        yield server.ready()
        assert "Traceback" not in server.said, server.said[-3000:]


def kill_clients(serving: Serving, count: int) -> None:
    """Begin streams of all formats in all codings, and reset each connection in the middle."""
    kinds = cycle(product(STREAMS, ("identity", "zstd", "gzip")))
    for number, (path, coding) in enumerate(islice(kinds, count)):
        client = RudeClient(serving.port, path, coding)
        client.read((300, 3_000, 300_000)[number % 3])
        assert client.status == 200
        client.slam()
        if number % 10 == 0:
            assert serving.get("/health/live")[0] == 200


async def until_idle(database) -> None:
    """No connection is left with a query or in a transaction, and so none with a cursor or a portal."""
    async with asyncio.timeout(10):
        while await fetch(database, BUSY) != [(0,)]:
            pass


async def test_a_hundred_clients_that_are_killed_leave_nothing_behind(serving, database):
    kill_clients(serving, 30)
    await until_idle(database)
    before = resident(serving.process.pid)
    kill_clients(serving, 100)
    await until_idle(database)
    assert resident(serving.process.pid) - before < 60 * MEGABYTE  # of answers of over 1000
    with ExitStack() as open_streams:
        clients = [
            open_streams.enter_context(RudeClient(serving.port, f"{PATH}ndjson")) for _ in range(READERS)
        ]
        assert all(client.read(2_000) >= 2_000 and client.status == 200 for client in clients)
        assert serving.get("/health/live")[0] == 200
    await until_idle(database)


def until_still(pid: int) -> None:
    """Wait until a process has done nothing for a while."""
    seen = []

    def still() -> bool:
        seen.append(worked(pid))
        return len(seen) > 10 and seen[-1] == seen[-10]

    until(still, "the server waits for its clients")


def test_clients_that_read_slowly_hold_the_server_back(serving):
    pid, slow = serving.process.pid, 6
    with RudeClient(
        serving.port, f"{PATH}ndjson", takes_in=MEGABYTE
    ) as whole:  # what one stream takes is not counted
        assert whole.read(100 * MEGABYTE) > 15 * MEGABYTE
    before = resident(pid)
    with ExitStack() as open_streams:
        clients = [open_streams.enter_context(RudeClient(serving.port, f"{PATH}ndjson")) for _ in range(slow)]
        for _ in range(3):
            for client in clients:
                assert client.read(MEGABYTE // 4) >= MEGABYTE // 4
            until_still(pid)
            grown = resident(pid) - before
            assert serving.get("/health/live")[0] == 200
            assert grown < slow * 10 * MEGABYTE  # of some 25 that each of them asked for
        bodies = [client.got.partition(b"\r\n\r\n")[2] for client in (whole, *clients)]
        assert all(len(body) > MEGABYTE // 2 and bodies[0].startswith(body) for body in bodies)
