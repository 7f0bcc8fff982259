"""Workers as processes: whatever happens to them, the table is the source's in the end, bar by bar."""

import os
import signal
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import numpy as np
import pytest

from market_data.db.embedded import EmbeddedServer
from market_data.db.embedded.process import exists
from market_data.services.planning import CHUNK_BARS
from tests.support.command import until
from tests.support.fleet import Fleet, days_ago, watchlist
from tests.support.replay_exchange import Exchange
from tests.support.replay_limits import Faults, Limit
from tests.support.replay_market import Market
from tests.support.replay_process import Replay
from tests.support.vendor import Question, Reply, serving

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


@pytest.mark.parametrize(
    ("symbols", "days", "kills", "latency", "seconds"),
    [(4, 62, 5, 60, 90), pytest.param(12, 150, 20, 60, 900, marks=pytest.mark.slow)],
)
def test_workers_are_killed_on_the_way(fleet, symbols, days, kills, latency, seconds):
    """A worker dies whenever the vendor has served so many pages more; another one begins."""
    random = np.random.default_rng(kills)
    since, names = END - timedelta(days=days), watchlist(symbols)
    moments = sorted(random.integers(10, symbols * days * 1440 // 1000, kills))
    with Replay(MARKET, latency=latency) as replay:
        workers = fleet(replay)
        workers.start(3)
        began = time.monotonic()
        workers.subscribe(names, since)
        for moment in moments:
            until(lambda now=moment: replay.stats()["ok"] >= now, f"{moment} pages", seconds)
            workers.kill_one_of(random)
        workers.wait(END, seconds)
        took, stats = time.monotonic() - began, replay.stats()
    count = workers.require_bars(names, since, END, MARKET)
    workers.require_ledger(since, END)
    print(f"\n{count} bars in {took:.1f} s, {kills} kills: {stats['requests']} requests, ", end="")
    print(f"{stats['bars'] - count} bars again")
    assert stats["bars"] - count <= kills * workers.jobs * CHUNK_BARS
    assert max((times for *_, times in stats["repeats"]), default=1) <= kills + 1


@pytest.mark.parametrize(
    ("count", "pages"), [(2, 30), (4, 30), *(pytest.param(n, 240, marks=pytest.mark.slow) for n in (2, 4))]
)
def test_workers_share_one_budget(fleet, count, pages):
    """Two requests a second for all of them: any window of the vendor's has its share and no more."""
    per_second, window = 2, 10
    since, names = END - timedelta(minutes=5000), watchlist(pages // 5)
    with Replay(MARKET, limit=Limit(per=window)) as replay:
        workers = fleet(replay, requests_per_minute=60 * per_second)
        workers.start(count)
        workers.subscribe(names, since)
        workers.wait(END, 30 + 2 * pages / per_second)
        stats, active = replay.stats(), workers.active()
    workers.require_bars(names, since, END, MARKET)
    took = stats["last_request"] - stats["first_request"]
    print(f"\n{count} workers, {active} active: peak {stats['peak']}, {stats['requests']} in {took:.1f} s")
    assert stats["requests"] >= pages
    assert stats["peak"] <= per_second * window + 1
    assert took > (stats["requests"] - 2) / per_second
    assert stats["repeated"] == 0
    assert active > 1


@pytest.mark.parametrize(
    ("count", "symbols", "days"),
    [(n, 8, 14) for n in (1, 2, 4)] + [pytest.param(n, 32, 60, marks=pytest.mark.slow) for n in (1, 2, 4)],
)
def test_workers_divide_what_takes_its_time(fleet, count, symbols, days):
    """A vendor that takes 80 ms for each answer: the figures tell what more workers bring."""
    since, names = END - timedelta(days=days), watchlist(symbols)
    with Replay(MARKET, latency=80) as replay:
        workers = fleet(replay)
        workers.start(count)
        began = time.monotonic()
        workers.subscribe(names, since)
        workers.wait(END, 600)
        took, stats, active = time.monotonic() - began, replay.stats(), workers.active()
    bars = workers.require_bars(names, since, END, MARKET)
    print(f"\n{count} workers, {active} of them active: {bars} bars in {took:.1f} s")
    assert stats["repeated"] == 0
    assert 1 + (count > 1) <= active <= count


def test_a_worker_that_is_told_to_end_puts_its_jobs_back(fleet):
    since, names = END - timedelta(days=75), watchlist(2)
    with Replay(MARKET, latency=40) as replay:
        workers = fleet(replay)
        (first,) = workers.start()
        workers.subscribe(names, since)
        until(lambda: replay.stats()["ok"] >= 50, "some pages")
        began = time.monotonic()
        assert workers.stop(first) == 0
        took, served = time.monotonic() - began, replay.stats()["ok"]
        waiting = workers.ask("SELECT status, count(*) FROM v_job WHERE kind = 'sync' GROUP BY status")
        assert [tuple(row) for row in waiting] == [("queued", 2)]
        assert "went back into the queue" in first.said
        workers.start()
        workers.wait(END)
        stats = replay.stats()
    count = workers.require_bars(names, since, END, MARKET)
    workers.require_ledger(since, END)
    print(f"\nstopped in {took:.1f} s after {served} pages; bars again: {stats['bars'] - count}")
    assert stats["bars"] - count <= len(names) * CHUNK_BARS


def test_the_database_is_restarted_on_the_way(tmp_path, monkeypatch):
    """All connections break, and for a moment nobody answers; the address stays."""
    monkeypatch.delenv("TEST_DATABASE_URL", raising=False)
    since, names = END - timedelta(days=62), watchlist(3)
    data = tmp_path / "server"
    with (
        Replay(MARKET, latency=60) as replay,
        EmbeddedServer(data) as server,
        Fleet(server.start(), replay.url, tmp_path) as workers,
    ):
        workers.migrate()
        workers.start(2)
        workers.subscribe(names, since)
        until(lambda: replay.stats()["ok"] >= 60, "some pages")
        postmaster = int((data / "postgres/cluster/postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGINT)
        until(lambda: not exists(postmaster), "the end of the server")
        assert server.start() == workers.url
        began = time.monotonic()
        workers.wait(END, 90)
        took, stats = time.monotonic() - began, replay.stats()
        assert all(one.working for one in workers.workers)
        count = workers.require_bars(names, since, END, MARKET)
        workers.require_ledger(since, END)
    print(f"\ncaught up {took:.1f} s after the restart; bars again: {stats['bars'] - count}")
    assert stats["bars"] - count <= len(names) * CHUNK_BARS


ERROR = b'{"code": -1000, "msg": "An unknown error occured while processing the request."}'
PAGE = b"<!DOCTYPE html><html><head><title>One moment</title></head><body>S0000USDT, 1, 2</body></html>"
_PUT_OFF = "SELECT count(*) FROM v_job WHERE status = 'queued' AND attempts = 1 AND due_at > now() + '20 s'"
_LAST_TRY = "UPDATE market_data_queue.pgqueuer SET execute_after = now() WHERE status = 'queued'"
_FAILED_OFTEN = "UPDATE subscription SET failures = 5"
_GIVEN_UP = "SELECT parameters->>'subscription_id' FROM v_job WHERE status = 'failed' ORDER BY 1"
_LEDGER = """
    SELECT state, start_ts, least(end_ts, $2) FROM v_coverage
    WHERE symbol = $1 AND start_ts < $2 AND state <> 'no_trade' ORDER BY start_ts
    """


def test_what_cannot_be_read_is_never_stored(fleet):
    """Answers of 200 that are none: jobs are tried again and given up, months noted as failed."""
    since, names = END - timedelta(days=70), watchlist(5)
    month = (END - timedelta(days=35)).replace(day=1)
    following = (month + timedelta(days=31)).replace(day=1)
    exchange = Exchange(MARKET)

    def answer(asked: Question) -> Reply:
        good = exchange.answer(f"{asked.path}?{urlencode(asked.params)}", time.monotonic()).body
        inside = month <= datetime.fromtimestamp(int(asked.params["startTime"]) / 1000, UTC) < following
        body = dict(
            zip(names, (ERROR, PAGE, good[: len(good) // 2], ERROR if inside else good), strict=False)
        )
        return Reply(body.get(asked.params["symbol"], good), headers={"Content-Type": "application/json"})

    with serving(answer) as vendor:
        workers = fleet(vendor, jobs=8)
        workers.start()
        workers.subscribe(names, since)
        until(lambda: workers.ask(_PUT_OFF)[0][0] == 4, "all that fail were tried, and wait", 60)
        workers.ask(_FAILED_OFTEN)
        workers.ask(_LAST_TRY)
        until(lambda: len(workers.ask(_GIVEN_UP)) == 3, "given up", 60)
        ledger = [("answered", since, month), ("failed", month, following), ("answered", following, END)]
        until(lambda: [tuple(row) for row in workers.ask(_LEDGER, names[3], END)] == ledger, "the ledger")
    assert [row[0] for row in workers.ask(_GIVEN_UP)] == ["1", "2", "3"]
    assert {len(workers.bars(name)) for name in names[:3]} == {0}
    found = workers.bars(names[3])
    inside = (found.ts >= np.datetime64(month.replace(tzinfo=None))) & (
        found.ts < np.datetime64(following.replace(tzinfo=None))
    )
    assert not inside.any()
    assert len(found) == (END - since - (following - month)) / timedelta(minutes=1)
    workers.require_bars(names[4:], since, END, MARKET)
