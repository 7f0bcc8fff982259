"""Workers as processes: whatever happens to them, the table is the source's in the end, bar by bar."""

import time
from datetime import timedelta
from random import Random

import pytest

from market_data.services.planning import CHUNK_PAGES
from tests.support.fleet import Fleet, days_ago, watchlist
from tests.support.replay_limits import Faults, Limit
from tests.support.replay_market import Market
from tests.support.replay_process import Replay

END = days_ago(2)
MARKET = Market(until=END)


@pytest.fixture
def fleet(empty_url, tmp_path):
    """Make a fleet on a database of this test."""
    made = []

    def on(replay, **options) -> Fleet:
        one = Fleet(empty_url, replay.url, tmp_path, **options)
        made.append(one)
        one.migrate()
        return one

    yield on
    for one in made:
        one.__exit__()


@pytest.mark.parametrize(
    ("symbols", "days", "market", "per_second", "seconds"),
    [
        (4, 28, MARKET, 25, 60),
        pytest.param(50, 730, Market(until=END, sessions=True), 120, 1200, marks=pytest.mark.slow),
    ],
)
def test_a_strict_and_faulty_vendor(fleet, symbols, days, market, per_second, seconds):
    """The workers' pace is a quarter faster than the vendor allows, so that it has to refuse."""
    limit = Limit(per_second * 4 // 5, per=1, strikes=3, ban=3600, grace=0.5)
    since, names = END - timedelta(days=days), watchlist(symbols)
    with Replay(market, limit=limit, faults=Faults(0.05, seed=7)) as replay:
        workers = fleet(replay, requests_per_minute=60 * per_second)
        workers.start(2)
        began = time.monotonic()
        workers.subscribe(names, since)
        workers.wait(END, seconds)
        took, stats = time.monotonic() - began, replay.stats()
    count = workers.require_bars(names, since, END, market)
    workers.require_ledger(since, END)
    print(f"\n{count} bars in {took:.1f} s: {stats}")
    assert stats["limited"] > 0
    assert sum(stats["failures"].values()) > 0
    assert (stats["banned"], stats["bans"]) == (0, 0)
