"""The replaying vendor as a process: started for a test or a benchmark, asked what it saw, and ended."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, Self

from tests.support.replay_exchange import STATS
from tests.support.replay_limits import Faults, Limit
from tests.support.replay_market import ALWAYS, Market

_ROOT = Path(__file__).parents[2]


class Replay:
    """A context manager; `url` is what `BINANCE_BASE_URL` is to be. Latency in milliseconds.

    The process also ends when the one that started it does, however that ends.
    """

    def __init__(
        self,
        market: Market = ALWAYS,
        *,
        limit: Limit | None = None,
        faults: Faults | None = None,
        latency: float = 0.0,
    ) -> None:
        self.market = market
        self.words = _words(market, limit or Limit(), faults or Faults(), latency)
        self.url = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.replay", "--leash", *self.words],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C that a test sends is not meant for the vendor
        )
        line = self._process.stdout.readline()
        if not line:
            self._end()
            raise AssertionError(f"the vendor ended with {self._process.returncode}: {' '.join(self.words)}")
        self.url = f"http://127.0.0.1:{json.loads(line)['port']}"
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def stats(self) -> dict[str, Any]:
        """What it was asked so far; see `Exchange.stats`."""
        with urllib.request.urlopen(f"{self.url}{STATS}", timeout=10) as answer:  # noqa: S310 - it is ours
            return json.loads(answer.read())

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()


def _words(market: Market, limit: Limit, faults: Faults, latency: float) -> list[str]:
    values = {
        "first": market.first.isoformat(),
        "until": market.until.isoformat(),
        "holes": market.holes,
        "limit": limit.requests,
        "per": limit.per,
        "strikes": limit.strikes,
        "ban": limit.ban,
        "grace": limit.grace,
        "failures": faults.fraction,
        "seed": faults.seed,
        "latency": latency,
    }
    words = [f"--{name}={value}" for name, value in values.items() if value is not None]
    return [*words, "--sessions"] if market.sessions else words
