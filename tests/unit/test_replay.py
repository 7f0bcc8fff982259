"""The replaying vendor's market, limits and failures, without a socket."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from market_data.core.interval import Interval
from tests.support.replay import parse
from tests.support.replay_exchange import Exchange
from tests.support.replay_limits import Fault, Faults, Limit, Limiter, Saboteur
from tests.support.replay_market import Market, _noise, bars, in_hole, minute, minutes
from tests.support.replay_process import Replay

DAY = timedelta(days=1)
MONDAY = datetime(2024, 1, 1, tzinfo=UTC)
SYMBOL = "S0042USDT"
M1, D1 = Interval.M1, Interval.D1
intervals = pytest.mark.parametrize("interval", [M1, D1])


def target(start, end=None, interval="1m", limit=1000, symbol=SYMBOL):
    text = f"/api/v3/klines?symbol={symbol}&interval={interval}&startTime={millis(start)}&limit={limit}"
    return text if end is None else f"{text}&endTime={millis(end) - 1}"


def millis(instant):
    return int(instant.timestamp() * 1000)


def columns(found):
    return [column.tolist() for column in found.columns()]


def klines(reply):
    """What a client reads: starts and the five numbers, text to doubles."""
    page = json.loads(reply.body)
    starts = np.array([row[0] for row in page], "datetime64[ms]").astype("datetime64[us]")
    return [starts.tolist(), *([float(row[cell]) for row in page] for cell in range(1, 6))]


@intervals
def test_bars_depend_on_nothing_but_symbol_and_time(interval):
    whole = bars(SYMBOL, interval, MONDAY, MONDAY + 100 * DAY)
    cut = bars(SYMBOL, interval, MONDAY + 50 * DAY, MONDAY + 53 * DAY)
    at = np.searchsorted(whole.ts, cut.ts[0])
    assert len(whole) == 100 * DAY / interval.duration
    assert columns(whole.take(slice(at, at + len(cut)))) == columns(cut)
    assert columns(cut) != columns(bars("S0043USDT", interval, MONDAY + 50 * DAY, MONDAY + 53 * DAY))


@intervals
def test_bars_are_consistent_and_move(interval):
    found = bars("S9999USDT", interval, MONDAY, MONDAY + 300 * DAY)
    assert (np.diff(found.ts) == np.timedelta64(interval.duration)).all()
    assert (found.low > 0).all()
    assert (found.low <= np.minimum(found.open, found.close)).all()
    assert (found.high >= np.maximum(found.open, found.close)).all()
    assert (found.volume > 0).all()
    assert (found.open[1:] == found.close[:-1]).all()
    assert len(np.unique(found.close)) > len(found) / 1000
    assert (np.round(found.close, 2) == found.close).all()
    assert (np.round(found.volume, 3) == found.volume).all()


def test_known_bars():
    """Two processes, or versions, that compute other numbers must not be compared with each other."""
    day, minute_ = (bars("S0000USDT", one, MONDAY, MONDAY + DAY).take(slice(1)) for one in (D1, M1))
    assert columns(day)[1:] == [[1216.49], [1216.7], [1185.78], [1186.14], [524.757]]
    assert columns(minute_)[1:] == [[1216.49], [1216.98], [1215.46], [1216.06], [450.534]]


def test_noise_is_splitmix():
    """First numbers of seed 1234567: https://rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64."""
    expected = [6457827717110365317 >> 1, 3203168211198807973 >> 1]
    assert _noise(np.array([1, 2]), 1234567).tolist() == expected


@pytest.mark.parametrize("symbol", ["BTCUSDT", "S1USDT", "S00000USDT", "s0001USDT"])
def test_other_symbols_do_not_exist(symbol):
    with pytest.raises(ValueError, match="none of"):
        bars(symbol, M1, MONDAY, MONDAY + DAY)


def test_sessions_are_those_of_weekdays():
    market = Market(sessions=True)
    found = bars(SYMBOL, M1, MONDAY, MONDAY + 14 * DAY, market).ts.tolist()
    assert len(found) == 10 * 390
    assert {stamp.weekday() for stamp in found} == {0, 1, 2, 3, 4}
    times = {stamp.time().isoformat("minutes") for stamp in found}
    assert (min(times), max(times)) == ("14:30", "20:59")
    days = bars(SYMBOL, D1, MONDAY, MONDAY + 14 * DAY, market).ts.tolist()
    assert [day.weekday() for day in days] == [0, 1, 2, 3, 4] * 2


@intervals
def test_holes_are_where_the_function_says(interval):
    span = MONDAY - 2000 * DAY, MONDAY + 100 * DAY
    whole = minutes(SYMBOL, interval, *map(minute, span))
    out = in_hole(SYMBOL, interval, whole, seed=7)
    holed = bars(SYMBOL, interval, *span, Market(holes=7))
    assert columns(bars(SYMBOL, interval, *span).take(~out)) == columns(holed)
    assert 0.01 < out.mean() < 0.3
    assert (out != in_hole(SYMBOL, interval, whole, seed=8)).any()
    assert (out != in_hole("S0043USDT", interval, whole, seed=7)).any()


def test_nothing_before_the_listing_nor_after_now():
    market = Market(first=MONDAY + timedelta(seconds=90), until=MONDAY + timedelta(minutes=5, seconds=1))
    found = bars(SYMBOL, M1, MONDAY - DAY, MONDAY + DAY, market).ts.tolist()
    assert [stamp.minute for stamp in found] == [2, 3, 4, 5]


@intervals
@pytest.mark.parametrize("market", [Market(), Market(sessions=True), Market(holes=3)])
def test_pages_are_the_first_rows_from_start_to_end(interval, market):
    exchange = Exchange(market)
    end = MONDAY + 3 * DAY if interval is M1 else MONDAY + 500 * DAY
    everything = bars(SYMBOL, interval, MONDAY, end, market)
    wanted = min(len(everything), 700)
    reply = exchange.answer(target(MONDAY, end, interval, 700), 0)
    assert klines(reply) == columns(everything.take(slice(wanted)))
    assert (reply.status, reply.bars) == (200, wanted)


def test_a_row_is_written_as_binance_writes_it():
    (row,) = json.loads(Exchange().answer(target(MONDAY, interval="1d", limit=1), 0).body)
    (day,) = zip(*columns(bars(SYMBOL, D1, MONDAY, MONDAY + DAY))[1:], strict=True)
    assert row[1:6] == [f"{cell:.8f}" for cell in day]
    assert (row[0], row[6]) == (millis(MONDAY), millis(MONDAY + DAY) - 1)
    assert row[7] == f"{round(day[4] * day[3], 5):.8f}"
    assert (type(row[8]), row[11], len(row)) == (int, "0", 12)


def test_both_ends_are_inclusive():
    exchange = Exchange()
    start, end = millis(MONDAY), millis(MONDAY) + 120_000
    ask = f"/api/v3/klines?symbol={SYMBOL}&interval=1m&limit=1000&startTime={{}}&endTime={{}}"
    assert exchange.answer(ask.format(start, end), 0).bars == 3
    assert exchange.answer(ask.format(start, end - 1), 0).bars == 2
    assert exchange.answer(ask.format(start + 1, end), 0).bars == 2
    assert exchange.answer(ask.format(end, start), 0).body == b"[]"
    assert exchange.answer(target(MONDAY, limit=5000), 0).bars == 1000


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (target(MONDAY, symbol="BTCUSDT"), -1121),
        (target(MONDAY, interval="3m"), -1120),
        ("/api/v3/klines?symbol=S0000USDT&interval=1m", -1102),
        ("/api/v3/klines?symbol=S0000USDT&interval=1m&startTime=-1", -1100),
        (target(MONDAY, limit=0), -1100),
        ("/api/v3/time", -1000),
    ],
)
def test_what_cannot_be_answered_is_refused(asked, code):
    exchange = Exchange()
    reply = exchange.answer(asked, 0)
    assert (reply.status, json.loads(reply.body)["code"]) == (400, code)
    assert exchange.stats()["refused"] == 1


def judged(limiter, *times):
    return [(verdict.status, verdict.retry_after) for verdict in map(limiter.judge, times)]


def test_the_limit_is_a_sliding_window():
    limiter = Limiter(Limit(3, per=10))
    assert judged(limiter, 0, 4, 9.5) == [(200, 0)] * 3
    assert judged(limiter, 9.75) == [(429, 1)]
    assert judged(limiter, 10.75, 14, 19.5) == [(200, 0)] * 3
    assert limiter.strikes == 0
    assert limiter.asked.most == 4


def test_impatience_is_banned():
    limiter = Limiter(Limit(1, per=10, strikes=3, ban=60))
    assert judged(limiter, 0, 1) == [(200, 0), (429, 9)]
    assert judged(limiter, 2, 3.5) == [(429, 8), (429, 7)]
    assert judged(limiter, 4, 5, 63.5) == [(418, 60), (418, 59), (418, 1)]
    assert (limiter.strikes, limiter.bans) == (3, 1)
    assert judged(limiter, 64, 65, 66) == [(200, 0), (429, 9), (429, 8)]


def test_strikes_are_collected_until_the_ban():
    limiter = Limiter(Limit(1, per=10, strikes=2))
    assert judged(limiter, 0, 1, 2, 20, 21, 22) == [
        *[(200, 0), (429, 9), (429, 8)],
        *[(200, 0), (429, 9), (418, 120)],
    ]


def test_what_was_under_way_is_no_strike():
    limiter = Limiter(Limit(1, per=10, strikes=1, grace=0.5))
    assert judged(limiter, 0, 1, 1.25, 1.5) == [(200, 0), (429, 9), (429, 9), (418, 120)]


def test_limits_are_told_as_binance_tells_them():
    exchange = Exchange(limit=Limit(1, strikes=1))
    replies = [exchange.answer(target(MONDAY), now) for now in range(3)]
    assert [reply.status for reply in replies] == [200, 429, 418]
    assert [reply.headers.get("Retry-After") for reply in replies] == [None, "59", "120"]
    assert [reply.headers["X-MBX-USED-WEIGHT-1M"] for reply in replies] == ["2", "2", "2"]
    assert all(json.loads(reply.body)["code"] == -1003 for reply in replies[1:])
    stats = exchange.stats()
    assert (stats["requests"], stats["limited"], stats["banned"]) == (3, 1, 1)
    assert (stats["strikes"], stats["bans"], stats["peak"]) == (1, 1, 3)


def test_failures_are_as_many_as_told_and_the_same_in_any_order():
    requests = [f"/{number}" for number in range(6000)]
    chosen = {request: Saboteur(Faults(0.1, seed=1)).choose(request) for request in requests}
    again = Saboteur(Faults(0.1, seed=1))
    assert chosen == {request: again.choose(request) for request in reversed(requests)}
    other = Saboteur(Faults(0.1, seed=2))
    assert chosen != {request: other.choose(request) for request in requests}
    counts = Counter(filter(None, chosen.values()))
    assert 500 < counts.total() < 700
    assert min(counts[kind] for kind in Fault) > 60
    failed = [request for request, kind in chosen.items() if kind]
    repeated = [again.choose(request) for request in failed]
    assert repeated.count(None) > 0.8 * len(failed)


def faulty(kind):
    """An exchange's answer that fails in one way."""
    exchange = Exchange(faults=Faults(1.0))
    replies = (exchange.answer(target(MONDAY + number * DAY), 0) for number in range(1000))
    reply = next(reply for reply in replies if reply.fault is kind)
    exchange.sent(reply)
    stats = exchange.stats()
    assert stats["failures"][kind] == 1
    assert (stats["ok"], stats["bars"], stats["repeated"]) == (0, 0, 0)
    head, _, body = reply.wire().partition(b"\r\n\r\n")
    return reply.status, head, body


def test_how_answers_fail():
    assert faulty(Fault.RESET)[1:] == (b"", b"")
    assert faulty(Fault.ERROR_500)[0] == 500
    assert faulty(Fault.ERROR_503)[0] == 503
    assert b"<html>" in faulty(Fault.HTML)[2]
    _, head, body = faulty(Fault.CUT)
    assert f"Content-Length: {len(body)}".encode() not in head
    assert body.startswith(b"[[")
    _, head, body = faulty(Fault.HALF)
    assert f"Content-Length: {len(body)}".encode() in head
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)


def test_pages_served_again_are_counted():
    exchange = Exchange()
    for asked in (target(MONDAY), target(MONDAY), target(MONDAY), target(MONDAY, MONDAY + DAY)):
        exchange.sent(exchange.answer(asked, 0))
    exchange.answer(target(MONDAY, MONDAY + DAY), 0)  # the client did not live to read it
    stats = json.loads(exchange.answer("/_stats", 0).body)
    assert (stats["requests"], stats["ok"], stats["bars"], stats["repeated"]) == (5, 4, 4000, 1)
    assert stats["repeats"] == [[SYMBOL, "1m", str(millis(MONDAY)), "", 3]]
    assert stats["first_request"] <= stats["last_request"]


def test_all_options_reach_the_process():
    market = Market(MONDAY, MONDAY + DAY, sessions=True, holes=5)
    replay = Replay(market, limit=Limit(6, 7, 8, 9, 10), faults=Faults(0.5, 11), latency=12)
    read = parse(replay.words)
    assert (read.first, read.until, read.sessions, read.holes) == (MONDAY, MONDAY + DAY, True, 5)
    assert (read.limit, read.per, read.strikes, read.ban, read.grace) == (6, 7, 8, 9, 10)
    assert (read.failures, read.seed, read.latency) == (0.5, 11, 12)
