"""Paging of klines: what a payload file would need thousands of rows to show."""

import httpx2
import orjson
import pytest

from market_data.core.exceptions import MalformedAnswer
from market_data.core.interval import Interval
from market_data.etl.clients.binance import BinanceClient
from tests.support.provider_contract import Subject, ask

HOUR = 3_600_000
FIRST = 1_704_067_200_000


@pytest.fixture
def subject() -> Subject:
    return Subject.load(BinanceClient)


def kline(open_time: int) -> list:
    return [open_time, "1.1", "1.3", "1.0", "1.2", "5.5", open_time + HOUR - 1, "6.6", 7, "2.2", "2.6", "0"]


class Exchange:
    """Answers like the real one from `count` hours of klines, at most 1000 a request."""

    def __init__(self, count: int):
        self.stamps = [FIRST + HOUR * n for n in range(count)]
        self.asked = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        start = int(request.url.params["startTime"])
        end = int(request.url.params.get("endTime", 2**62))
        self.asked.append(start)
        found = [stamp for stamp in self.stamps if start <= stamp <= end][:1000]
        return httpx2.Response(200, content=orjson.dumps([kline(stamp) for stamp in found]))


@pytest.mark.parametrize(("count", "pages"), [(0, 1), (1, 1), (999, 1), (1000, 2), (1001, 2), (2500, 3)])
async def test_pages_join_without_hole_or_overlap(subject, count, pages):
    exchange = Exchange(count)
    run = await ask(subject, {"symbol": "BTCUSDT", "interval": "1h"}, exchange)
    assert run.error is None
    stamps = [int(stamp) // 1000 for page in run.pages for stamp in page.rows.stamp.astype("int64")]
    assert stamps == exchange.stamps
    assert len(run.pages) == pages
    assert exchange.asked == [0, *(FIRST + HOUR * 1000 * n for n in range(1, pages))]


async def test_a_range_ends_before_its_end(subject):
    exchange = Exchange(5000)
    request = {
        "symbol": "BTCUSDT",
        "interval": "1h",
        "start": "2024-01-01T00:00:00Z",
        "end": "2024-02-11T16:00:00Z",
    }
    run = await ask(subject, request, exchange)
    assert [len(page.rows) for page in run.pages] == [1000]
    assert exchange.asked == [FIRST]
    assert str(run.pages[0].rows.stamp[-1])[:16] == "2024-02-11T15:00"


async def test_an_empty_range_costs_one_request_that_tells_the_symbol(subject):
    request = {
        "symbol": "BTCUSDT",
        "interval": "1h",
        "start": "2024-01-02T00:00:00Z",
        "end": "2024-01-02T00:00:00Z",
    }
    exchange = Exchange(10)
    run = await ask(subject, request, exchange)
    assert run.error is None
    assert [(len(page.rows), page.listing.symbol) for page in run.pages] == [(0, "BTCUSDT")]
    assert len(exchange.asked) == 1


async def test_a_server_that_repeats_its_page_does_not_hold_us_forever(subject):
    page = orjson.dumps([kline(FIRST + HOUR * n) for n in range(1000)])
    asked = []

    def answer(request):
        asked.append(request)
        return httpx2.Response(200, content=page)

    run = await ask(subject, {"symbol": "BTCUSDT", "interval": "1h"}, answer)
    assert type(run.error) is MalformedAnswer
    assert len(run.pages) == 1
    assert len(asked) == 2


async def test_months_page_by_the_calendar(subject):
    asked = []

    def answer(request):
        start = int(request.url.params["startTime"])
        asked.append(start)
        months = 1000 if len(asked) == 1 else 0
        stamps = [n * 1000 for n in _month_starts(months)]
        return httpx2.Response(200, content=orjson.dumps([kline(stamp) for stamp in stamps]))

    run = await ask(subject, {"symbol": "BTCUSDT", "interval": Interval.MO1}, answer)
    assert run.error is None
    assert asked == [0, _month_starts(1001)[-1] * 1000]


def _month_starts(count: int) -> list[int]:
    from datetime import UTC, datetime

    return [int(datetime(1970 + n // 12, n % 12 + 1, 1, tzinfo=UTC).timestamp()) for n in range(count)]
