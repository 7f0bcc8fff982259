"""A vendor's server as a process: Binance's klines over a computed market, fast, limited and faulty.

`python -m tests.support.replay --port 0` prints one line of JSON with its port once it listens.
Tests start it with `tests.support.replay_process.Replay`. `GET /_stats` tells what it was asked; see
`Exchange.stats`.
"""

import argparse
import asyncio
import json
import socket
import struct
import sys
from collections.abc import Sequence

import uvloop

from market_data.core.interval import parse_instant
from tests.support.replay_exchange import STATS, Exchange
from tests.support.replay_limits import Fault, Faults, Limit
from tests.support.replay_market import ALWAYS, Market

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: close at once and without a farewell."""


class Server:
    """Speaks as much of HTTP/1.1 as clients of one GET call need, connection by connection."""

    def __init__(self, exchange: Exchange, latency: float = 0.0) -> None:
        self.exchange = exchange
        self.latency = latency

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client has gone, or is none: that is its own affair
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        target = head.split(b" ", 2)[1].decode("latin-1")
        reply = self.exchange.answer(target, asyncio.get_running_loop().time())
        if self.latency and target != STATS:
            await asyncio.sleep(self.latency)
        if writer.is_closing() or reader.at_eof():
            return False
        if reply.fault is Fault.RESET:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
            return False
        writer.write(reply.wire())
        await writer.drain()
        self.exchange.sent(reply)
        return reply.fault is not Fault.CUT


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.replay", description=__doc__)
    add = parser.add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=0, help="0: any that is free")
    add(
        "--leash",
        action="store_true",
        help="end when stdin is closed, that is with the process that holds it",
    )
    add("--first", type=parse_instant, default=ALWAYS.first, help="no bar starts before")
    add(
        "--until",
        type=parse_instant,
        default=ALWAYS.until,
        help="no bar starts at or after: the simulated now",
    )
    add("--sessions", action="store_true", help="14:30-21:00 UTC on weekdays only")
    add("--holes", type=int, metavar="SEED", help="leave out stretches")
    add("--limit", type=int, metavar="N", help="most requests in any --per seconds")
    add("--per", type=float, default=Limit.per, metavar="SECONDS")
    add(
        "--strikes",
        type=int,
        default=Limit.strikes,
        help="requests before Retry-After is over that bring a ban",
    )
    add("--ban", type=float, default=Limit.ban, metavar="SECONDS")
    add("--grace", type=float, default=Limit.grace, metavar="SECONDS", help="no strikes so soon after a 429")
    add(
        "--failures",
        type=float,
        default=Faults.fraction,
        metavar="FRACTION",
        help="of answers that are faulty",
    )
    add("--seed", type=int, default=Faults.seed, help="of the failures")
    add("--latency", type=float, default=0.0, metavar="MS", help="before each answer")
    return parser.parse_args(words)


async def run(options: argparse.Namespace) -> None:
    """Serve until killed."""
    exchange = Exchange(
        Market(options.first, options.until, options.sessions, options.holes),
        Limit(options.limit, options.per, options.strikes, options.ban, options.grace),
        Faults(options.failures, options.seed),
    )
    loop = asyncio.get_running_loop()
    let_go = asyncio.Event()
    if options.leash:
        loop.add_reader(sys.stdin.fileno(), let_go.set)
    server = Server(exchange, options.latency / 1000)
    listening = await asyncio.start_server(server.serve, options.host, options.port, backlog=1024)
    print(json.dumps({"port": listening.sockets[0].getsockname()[1]}), flush=True)
    await let_go.wait()


if __name__ == "__main__":
    uvloop.run(run(parse(sys.argv[1:])))
