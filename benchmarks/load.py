"""A load generator that does as little as possible: connections that ask for paths in turn."""

import asyncio
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle


@dataclass(slots=True)
class Load:
    """What a run of requests came to."""

    seconds: float
    latencies: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        """Requests answered in a second."""
        return len(self.latencies) / self.seconds

    @property
    def p50(self) -> float:
        """Median latency in seconds."""
        return statistics.median(self.latencies)


class _Connection(asyncio.Protocol):
    """Sends the next request as soon as an answer is whole."""

    def __init__(
        self, requests: Iterator[bytes], until: float, load: Load, done: asyncio.Future[None]
    ) -> None:
        self._requests = requests
        self._until = until
        self._load = load
        self._done = done
        self._buffer = bytearray()
        self._needed: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment] # TCP it is
        self._send()

    def _send(self) -> None:
        self._buffer.clear()
        self._needed = None
        self._began = time.perf_counter()
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._needed is None:
            self._read_head()
        if self._needed is None:
            return
        whole = len(self._buffer) >= self._needed if self._needed else self._buffer.endswith(b"0\r\n\r\n")
        if whole:
            now = time.perf_counter()
            self._load.latencies.append(now - self._began)
            if now < self._until:
                self._send()
            else:
                self._transport.close()

    def _read_head(self) -> None:
        """Find how long the answer is; 0 stands for chunks."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._buffer[:end]).lower()
        if not head.startswith((b"http/1.1 200", b"http/1.1 304")):
            self._done.set_exception(RuntimeError(head.decode()[:200]))
            self._transport.close()
            return
        if b"transfer-encoding: chunked" in head:
            self._needed = 0
        elif b"content-length: " in head:
            self._needed = end + 4 + int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        else:
            self._needed = end + 4

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 # asyncio's signature
        if not self._done.done():
            self._done.set_result(None)


async def _run(port: int, paths: Sequence[str], connections: int, seconds: float, headers: str) -> Load:
    requests = cycle([f"GET {path} HTTP/1.1\r\nHost: bench\r\n{headers}\r\n".encode() for path in paths])
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    load = Load(seconds)
    waiting = [loop.create_future() for _ in range(connections)]
    for done in waiting:
        await loop.create_connection(
            lambda done=done: _Connection(requests, began + seconds, load, done), "127.0.0.1", port
        )
    await asyncio.gather(*waiting)
    load.seconds = time.perf_counter() - began
    return load


def run(port: int, *paths: str, connections: int = 16, seconds: float = 3.0, headers: str = "") -> Load:
    """Ask for these paths in turn, over and over."""
    return asyncio.run(_run(port, paths, connections, seconds, headers))
