"""The laboratory: a server of its own with the benchmark's data, psql sessions, the API as a process."""

import asyncio
import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from benchmarks import data
from market_data.core.interval import Basis, Interval
from market_data.core.vocabulary import AssetClass
from market_data.db import migrations
from market_data.db.embedded import EmbeddedServer
from market_data.db.session import Database
from market_data.repositories.market_price_writer import BarWriter, SeriesKey
from market_data.services.instrument import InstrumentService
from market_data.services.sealing import SealingService

SOURCE = "bench"
BATCH = 2_000
"""Bars written of one series at a time: a table filled by daily increments scatters its series."""


class Psql:
    """A warm psql session that times commands by itself."""

    def __init__(self, binary: Path, url: str) -> None:
        command = [str(binary), "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", url]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._send("\\timing on")

    def _send(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()

    def time(self, command: str) -> float:
        """Run one command and return its seconds."""
        self._send(command)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("Time: "):
                return float(line.split()[1]) / 1000
            if "ERROR" in line or "error:" in line:
                raise RuntimeError(line)
        raise RuntimeError("psql ended")

    def close(self) -> None:
        """End the session."""
        self._process.communicate("\\q\n", timeout=30)


class Lab:
    """Everything a measurement needs."""

    def __init__(self, url: str, bin_dir: Path, size: int) -> None:
        self.url = url
        self.bin_dir = bin_dir
        self.size = size
        self.instruments = data.instruments(size)
        self.series: dict[str, int] = {}

    def psql(self) -> Psql:
        """Open a warm psql."""
        return Psql(self.bin_dir / "psql", self.url)

    async def fill(self) -> None:
        """Migrate and write the bars the way a live system gets them: series by series in small steps."""
        database = Database(self.url)
        await migrations.upgrade(database)
        keys = {}
        for one in self.instruments:
            keys[one.number] = await add_instrument(database, one.symbol)
        made = {one.number: data.bars(one.number, one.rows) for one in self.instruments}
        longest = max(one.rows for one in self.instruments)
        for first in range(0, longest, BATCH):
            parts = {keys[n]: bars.take(slice(first, first + BATCH)) for n, bars in made.items()}
            async with database.session() as session:
                await BarWriter(session).upsert({k: b for k, b in parts.items() if len(b)}, run_id=1)
        await database.close()
        await self.read_series()

    def add_many(self, count: int) -> list[str]:
        """Add instruments with a day of bars each and return their symbols."""
        return asyncio.run(self._add_many(count))

    async def _add_many(self, count: int) -> list[str]:
        database = Database(self.url)
        symbols = [f"MANY{number:03d}" for number in range(count)]
        batch = {}
        for number, symbol in enumerate(symbols):
            batch[await add_instrument(database, symbol)] = data.bars(number, 1440)
        async with database.session() as session:
            await BarWriter(session).upsert(batch, run_id=1)
        await database.close()
        await self.read_series()
        return symbols

    def wal(self) -> int:
        """Return how many bytes of WAL the server has written."""

        async def ask() -> int:
            connection = await asyncpg.connect(self.url)
            written = await connection.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint")
            await connection.close()
            return int(written)

        return asyncio.run(ask())

    async def read_series(self) -> None:
        """Learn the ids of series, and let the planner learn the tables."""
        connection = await asyncpg.connect(self.url)
        await connection.execute("VACUUM (ANALYZE) market_price_intraday, price_block, series, instrument")
        rows = await connection.fetch(
            "SELECT i.symbol, s.id FROM series s JOIN instrument i ON i.id = s.instrument_id"
        )
        self.series = {row["symbol"]: row["id"] for row in rows}
        await connection.close()


async def add_instrument(database: Database, symbol: str) -> SeriesKey:
    """Add an instrument and return the key of its 1-minute series."""
    values = {"symbol": symbol, "exchange": "BENCH", "asset_class": AssetClass.CRYPTO, "currency": "USD"}
    created = await InstrumentService(database).create(values | {"timezone": "UTC"})
    return SeriesKey(created.id, Interval.M1, SOURCE, Basis.RAW)


@contextmanager
def lab(size: int, *, filled: bool = True) -> Iterator[Lab]:
    """Start a server in a temporary folder and fill it."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        server = EmbeddedServer(Path(folder))
        url = server.start()
        try:
            built = Lab(url, server.bin_dir, size)
            began = time.perf_counter()
            if filled:
                asyncio.run(built.fill())
                print(f"{size} bars made and stored in {time.perf_counter() - began:.1f} s", flush=True)
            yield built
        finally:
            server.stop()


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Api:
    """A running API process and a client that does as little as possible."""

    def __init__(self, command: list[str], url: str, **settings: str) -> None:
        self.port = free_port()
        environment = {
            **os.environ,
            "DATABASE_URL": url,
            "PORT": str(self.port),
            "UVICORN_PORT": str(self.port),
        }
        environment |= {"LOG_LEVEL": "WARNING", "UVICORN_LOG_LEVEL": "warning", **settings}
        self.process = subprocess.Popen(command, env=environment)
        for _ in range(300):
            try:
                self.get("/health/live")
            except (ConnectionError, http.client.HTTPException):
                time.sleep(0.1)
            else:
                return
        raise RuntimeError("the API did not start")

    def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[float, float, int]:
        """Return seconds until the first byte of the body, until its end, and its size."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        began = time.perf_counter()
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        if answer.status not in {200, 304}:
            raise RuntimeError(f"{path}: {answer.status} {answer.read(500)!r}")
        size = len(answer.read1(65536))
        first = time.perf_counter() - began
        buffer = bytearray(1 << 20)
        while read := answer.readinto(buffer):
            size += read
        whole = time.perf_counter() - began
        connection.close()
        return first, whole, size

    def memory(self) -> int:
        """Return the process's resident bytes."""
        return self._status("VmRSS:")

    def peak(self) -> int:
        """Return the most resident bytes since `forget_peak`."""
        return self._status("VmHWM:")

    def forget_peak(self) -> None:
        """Count the peak from now on."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def header(self, path: str, name: str) -> str:
        """Return a header of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.headers[name]

    def _status(self, field: str) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split(field)[1].split()[0]) * 1024

    def close(self) -> None:
        """Stop the process."""
        self.process.terminate()
        self.process.wait(30)


def ours(url: str, **settings: str) -> Api:
    """Start this project's API; it seals nothing by itself, and keeps frames where the settings say so."""
    command = [sys.executable, "-m", "market_data", "serve"]
    return Api(command, url, **{"SEAL_AFTER_SECONDS": "0", "FRAME_CACHE_BYTES": "0", **settings})


def naive(url: str) -> Api:
    """Start the naive application."""
    return Api([sys.executable, "-m", "uvicorn", "benchmarks.naive:app", "--no-access-log"], url)


def seal(url: str) -> None:
    """Build the column index."""
    _on(url, lambda service: service.seal())


def recount(url: str) -> None:
    """Count everything anew, after rows came past the program; nothing is sealed then."""
    _on(url, lambda service: service.reindex())


def _on(url: str, work: Callable[[SealingService], Awaitable[int]]) -> None:
    async def run() -> None:
        database = Database(url)
        await work(SealingService(database))
        await database.close()

    asyncio.run(run())
