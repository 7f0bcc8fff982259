"""The replaying vendor as a process, asked by the client that asks the real one."""

from datetime import UTC, datetime, timedelta

import httpx2
import numpy as np
import pytest

from market_data.core.exceptions import MalformedAnswer, ProviderError, ProviderUnavailable
from market_data.core.interval import Interval
from market_data.etl import http
from market_data.etl.provider import BarRequest
from market_data.etl.registry import open_client
from tests.support.command import until
from tests.support.replay_limits import Fault, Faults, Limit
from tests.support.replay_market import Market, bars
from tests.support.replay_process import Replay

START = datetime(2024, 1, 5, tzinfo=UTC)
END = START + timedelta(days=3)
SYMBOL = "S0007USDT"
MARKETS = [Market(), Market(sessions=True), Market(holes=1), Market(until=START + timedelta(days=1))]


@pytest.fixture
def asking(monkeypatch):
    """Ask a replaying vendor, without pauses, for a range; the columns of all pages."""
    monkeypatch.setenv("BINANCE_REQUESTS_PER_MINUTE", "1000000")
    for name, seconds in {"backoff": 0.001, "backoff_max": 0.002}.items():
        monkeypatch.setitem(http.Limits.__init__.__kwdefaults__, name, seconds)

    async def ask(replay, start=START, end=END):
        monkeypatch.setenv("BINANCE_BASE_URL", replay.url)
        request = BarRequest(symbol=SYMBOL, interval=Interval.M1, start=start, end=end)
        async with open_client("binance") as client:
            pages = [page.rows async for page in client.fetch_bars(request)]
        names = ("stamp", "open", "high", "low", "close", "volume")
        assert not any(page.unreadable.any() for page in pages)
        return [np.concatenate([getattr(page, name) for page in pages]) for name in names]

    return ask


@pytest.mark.parametrize("market", MARKETS)
async def test_three_days_of_minutes_arrive_as_they_are(market, asking):
    with Replay(market) as replay:
        got = await asking(replay)
        wanted = bars(SYMBOL, Interval.M1, START, END, market)
        for column, expected in zip(got, wanted.columns(), strict=True):
            np.testing.assert_array_equal(column, expected)
        stats = replay.stats()
        assert stats["bars"] == len(wanted) > 0
        assert stats["requests"] == stats["ok"] == stats["peak"] == len(wanted) // 1000 + 1
        assert (stats["repeated"], stats["limited"], sum(stats["failures"].values())) == (0, 0, 0)


async def test_limits_and_latency(httpx_get):
    with Replay(limit=Limit(2, per=3600, strikes=2), latency=1) as replay:
        answers = [await httpx_get(replay) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 429, 429, 418]
        assert 3590 < int(answers[2].headers["Retry-After"]) <= 3600
        stats = replay.stats()
        assert (stats["limited"], stats["banned"], stats["strikes"], stats["repeated"]) == (2, 1, 2, 1)


@pytest.fixture
async def httpx_get():
    """Ask for one bar."""
    params = {"symbol": SYMBOL, "interval": "1m", "startTime": int(START.timestamp() * 1000), "limit": 1}
    async with httpx2.AsyncClient() as client:

        async def get(replay):
            return await client.get(f"{replay.url}/api/v3/klines", params=params)

        yield get


async def test_failures_are_seen_by_the_client(asking, monkeypatch):
    monkeypatch.setitem(http.Limits.__init__.__kwdefaults__, "attempts", 2)
    end = START + timedelta(minutes=1)
    with Replay(faults=Faults(0.6, seed=1)) as replay:
        errors, got = set(), 0
        for _ in range(100):
            try:
                await asking(replay, START, end)
                got += 1
            except ProviderError as error:
                errors.add(type(error))
        stats = replay.stats()
        assert all(stats["failures"][kind] for kind in Fault)
        assert errors == {MalformedAnswer, ProviderUnavailable}
        assert 0 < got == stats["ok"] == stats["requests"] - sum(stats["failures"].values())


def test_it_ends_with_the_process_that_started_it():
    with Replay() as replay:
        process = replay._process
        process.stdin.close()
        until(lambda: process.poll() is not None, "the end of the vendor")
        process.stdin = None
