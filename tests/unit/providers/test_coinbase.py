"""Windows of candles: what a payload file would need thousands of rows to show."""

from datetime import datetime

import httpx2
import orjson
import pytest

from market_data.core.exceptions import MalformedAnswer, UnsupportedRequest
from market_data.etl.clients.coinbase import CoinbaseClient
from tests.support.provider_contract import Subject, ask

MINUTE, HOUR, DAY = 60, 3600, 86_400
FIRST = 1_704_067_200
"""2024-01-01; the payload's now is 2024-01-06 12:00."""
NOW = FIRST + 5 * DAY + 12 * HOUR


@pytest.fixture
def subject() -> Subject:
    return Subject.load(CoinbaseClient)


class Exchange:
    """Answers like the real one: both ends inclusive, newest first, more than 300 bars refused."""

    def __init__(self, trades: list[int], kept_since: int = 0):
        self.trades = trades
        self.kept_since = kept_since
        self.asked: list[tuple[int, int, int]] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        step = int(request.url.params["granularity"])
        start, end = (
            int(datetime.fromisoformat(request.url.params[name]).timestamp()) for name in ("start", "end")
        )
        self.asked.append((step, start, end))
        if (end - start) // step >= 300:
            return httpx2.Response(
                400, json={"message": "granularity too small for the requested time range."}
            )
        if end < self.kept_since:
            return httpx2.Response(400, json={"message": "End is too old"})
        found = sorted({trade - trade % step for trade in self.trades}, reverse=True)
        candles = [[time, 1.0, 1.3, 1.1, 1.2, 5.5] for time in found if start <= time <= end]
        return httpx2.Response(200, content=orjson.dumps(candles))


def minutes(**bounds: str) -> dict:
    return {"symbol": "BTC-USD", "interval": "1m", **bounds}


def times(run) -> list[int]:
    return [int(stamp) // 1_000_000 for page in run.pages for stamp in page.rows.stamp.astype("int64")]


@pytest.mark.parametrize(
    ("count", "windows"), [(1, 1), (299, 1), (300, 1), (301, 2), (600, 2), (601, 3), (1000, 4)]
)
async def test_windows_join_without_hole_or_overlap(subject, count, windows):
    trades = [FIRST + MINUTE * n for n in range(-500, 2000)]
    end = datetime.fromtimestamp(FIRST + MINUTE * count).astimezone().isoformat()
    exchange = Exchange(trades)
    run = await ask(subject, minutes(start="2024-01-01T00:00:00Z", end=end), exchange)
    assert run.error is None
    assert times(run) == [FIRST + MINUTE * n for n in range(count)]
    assert len(exchange.asked) == windows
    assert all(end - start <= 299 * MINUTE for _, start, end in exchange.asked)


async def test_a_pair_listed_late_is_not_asked_for_every_minute_before(subject):
    listed = FIRST + 4 * DAY + 7 * HOUR
    trades = [listed + MINUTE * n for n in range(1000)]
    exchange = Exchange(trades)
    run = await ask(subject, minutes(), exchange)
    assert run.error is None
    assert times(run) == trades
    assert len(exchange.asked) < 40


async def test_after_a_silence_days_tell_where_trading_goes_on(subject):
    trades = [FIRST, FIRST + MINUTE, FIRST + 3 * DAY + 5, NOW - 2 * MINUTE]
    run = await ask(subject, minutes(start="2024-01-01T00:00:00Z"), exchange := Exchange(trades))
    assert times(run) == [FIRST, FIRST + MINUTE, FIRST + 3 * DAY, NOW - 2 * MINUTE]
    assert sum(step == DAY for step, _, _ in exchange.asked) <= 12


async def test_days_that_are_too_old_are_passed_over(subject):
    trades = [FIRST + DAY * n for n in range(5)]
    exchange = Exchange(trades, kept_since=FIRST - 100 * DAY)
    run = await ask(
        subject, {"symbol": "BTC-USD", "interval": "1d", "start": "2010-01-01T00:00:00Z"}, exchange
    )
    assert (run.error, times(run)) == (None, trades)
    assert exchange.asked[0][1] == int(datetime.fromisoformat("2014-12-01T00:00:00Z").timestamp())


async def test_a_range_that_is_too_old_as_a_whole_is_refused(subject):
    request = {
        "symbol": "BTC-USD",
        "interval": "1d",
        "start": "2015-01-01T00:00:00Z",
        "end": "2017-01-01T00:00:00Z",
    }
    run = await ask(subject, request, Exchange([FIRST], kept_since=FIRST))
    assert type(run.error) is UnsupportedRequest
    assert run.pages == []


@pytest.mark.parametrize(
    ("start", "end"), [("2024-01-02T00:00:00Z", "2024-01-02T00:00:00Z"), ("9999-12-31T23:59:59Z", None)]
)
async def test_an_empty_range_or_the_future_costs_one_request_that_tells_the_product(subject, start, end):
    exchange = Exchange([FIRST])
    run = await ask(subject, minutes(start=start, **({"end": end} if end else {})), exchange)
    assert run.error is None
    assert [(len(page.rows), page.listing.symbol) for page in run.pages] == [(0, "BTC-USD")]
    assert len(exchange.asked) == 1


@pytest.mark.parametrize("begin", [FIRST, NOW - 300 * MINUTE])
async def test_a_server_that_ignores_the_range_stores_nothing_beyond_it(subject, begin):
    """It gives the first page, or the newest, whatever is asked."""
    page = orjson.dumps([[begin + MINUTE * n, 1.0, 1.3, 1.1, 1.2, 5.5] for n in reversed(range(300))])
    asked = []

    def answer(request):
        asked.append(request)
        return httpx2.Response(200, content=page)

    run = await ask(subject, minutes(start="2024-01-01T00:00:00Z"), answer)
    assert type(run.error) is MalformedAnswer
    assert times(run) == ([FIRST + MINUTE * n for n in range(300)] if begin == FIRST else [])
    assert len(asked) == 1 + len(run.pages)
