"""Windows of bars: what a payload file would need thousands of rows to show."""

import httpx2
import orjson
import pytest

from market_data.core.exceptions import MalformedAnswer
from market_data.etl.clients.bitstamp import BitstampClient
from tests.support.provider_contract import Subject, ask

MINUTE, HOUR, DAY = 60, 3600, 86_400
FIRST = 1_704_067_200
"""2024-01-01; the payload's now is 2024-01-06 12:00."""
NOW = FIRST + 5 * DAY + 12 * HOUR


@pytest.fixture
def subject() -> Subject:
    return Subject.load(BitstampClient)


class Exchange:
    """Answers like the real one: up to `limit` bars counted back from the end; `start` is ignored."""

    def __init__(self, times: list[int], twice: frozenset[int] = frozenset()):
        self.times = times
        self.twice = twice
        self.asked: list[tuple[int, int, int]] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        step, limit, end = (int(request.url.params[name]) for name in ("step", "limit", "end"))
        assert 1 <= limit <= 1000
        self.asked.append((step, limit, end))
        days = step == DAY
        known = sorted({time - time % DAY for time in self.times}) if days else self.times
        found = [time for time in known if time <= end for _ in range(1 + (time in self.twice))]
        return respond(found[-limit:])


def respond(times: list[int]) -> httpx2.Response:
    bar = {"open": "1.1", "high": "1.3", "low": "1.0", "close": "1.2", "volume": "5.5"}
    ohlc = [{**bar, "timestamp": str(time)} for time in times]
    return httpx2.Response(200, content=orjson.dumps({"data": {"ohlc": ohlc, "pair": "BTC/USD"}}))


def minutes(**bounds: str) -> dict:
    return {"symbol": "btcusd", "interval": "1m", **bounds}


def times(run) -> list[int]:
    return [int(stamp) // 1_000_000 for page in run.pages for stamp in page.rows.stamp.astype("int64")]


ALL = [FIRST + MINUTE * n for n in range(-3000, 5 * 1440 + 721)]


@pytest.mark.parametrize(
    ("start", "end", "windows"),
    [
        ("2024-01-01T00:00:00Z", "2024-01-01T00:01:00Z", 1),
        ("2024-01-01T00:00:00Z", "2024-01-01T16:40:00Z", 1),
        ("2024-01-01T00:00:00Z", "2024-01-01T16:41:00Z", 2),
        ("2024-01-01T00:00:00Z", "2024-01-03T00:00:30Z", 3),
    ],
)
async def test_windows_join_without_hole_or_overlap(subject, start, end, windows):
    exchange = Exchange(ALL)
    run = await ask(subject, minutes(start=start, end=end), exchange)
    assert run.error is None
    found = times(run)
    assert found == list(range(FIRST, found[-1] + 1, MINUTE))
    assert len(exchange.asked) == windows
    wanted = {"00:01:00Z": 1, "16:40:00Z": 1000, "16:41:00Z": 1001, "00:00:30Z": 2881}
    assert len(found) == wanted[end[-9:]]


async def test_bars_that_come_twice_push_none_out(subject):
    twice = frozenset(ALL[3100:3600:50])
    exchange = Exchange(ALL, twice)
    run = await ask(subject, minutes(start="2024-01-01T00:00:00Z", end="2024-01-02T00:00:00Z"), exchange)
    assert run.error is None
    assert sorted(set(times(run))) == list(range(FIRST, FIRST + DAY, MINUTE))
    assert len(exchange.asked) == 3


async def test_a_pair_listed_late_is_not_asked_for_every_minute_before(subject):
    listed = [time for time in ALL if time >= NOW - 1500 * MINUTE]
    exchange = Exchange(listed)
    run = await ask(subject, minutes(), exchange)
    assert (run.error, times(run)) == (None, [time for time in listed if time < NOW])
    assert len(exchange.asked) < 15


async def test_an_empty_window_between_others_is_passed_over(subject):
    halted = [time for time in ALL if not FIRST + 100 * MINUTE <= time < FIRST + 2500 * MINUTE]
    run = await ask(subject, minutes(start="2024-01-01T00:00:00Z"), Exchange(halted))
    assert (run.error, times(run)) == (None, [time for time in halted if FIRST <= time < NOW])


async def test_a_pair_that_is_traded_no_more_ends(subject):
    ended = [time for time in ALL if time < FIRST + DAY]
    run = await ask(subject, minutes(start="2024-01-01T00:00:00Z"), Exchange(ended))
    assert (run.error, times(run)) == (None, [time for time in ended if time >= FIRST])


async def test_an_empty_range_costs_one_bar_that_tells_the_pair(subject):
    exchange = Exchange(ALL)
    run = await ask(subject, minutes(start="2024-01-02T00:00:00Z", end="2024-01-02T00:00:00Z"), exchange)
    assert run.error is None
    assert [(len(page.rows), page.listing.symbol) for page in run.pages] == [(1, "BTCUSD")]


@pytest.mark.parametrize("begin", [FIRST, NOW - 1000 * MINUTE])
async def test_a_server_that_ignores_the_range_stores_nothing_beyond_it(subject, begin):
    """It gives the first page, or the newest, whatever is asked."""
    asked = []

    def answer(request):
        asked.append(request)
        return respond([begin + MINUTE * n for n in range(1000)])

    run = await ask(subject, minutes(start="2024-01-01T00:00:00Z"), answer)
    assert type(run.error) is MalformedAnswer
    assert times(run) == ([FIRST + MINUTE * n for n in range(1000)] if begin == FIRST else [])
    assert len(asked) == (3 if begin == FIRST else 1)
