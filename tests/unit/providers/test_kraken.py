"""What Kraken's depth of 720 bars does to a request."""

from datetime import UTC, datetime

import httpx2
import orjson
import pytest

from market_data.core.exceptions import UnsupportedRequest
from market_data.core.interval import Interval
from market_data.etl.clients.kraken import KrakenClient
from tests.support.provider_contract import Subject, ask

HOUR = 3600
NOW = 1_704_542_400
"""The payload's now, on the hour: the running bar starts here."""


@pytest.fixture
def subject() -> Subject:
    return Subject.load(KrakenClient)


class Exchange:
    """Answers like the real one: the newest 720 of `count` hours, of those the ones after `since`."""

    def __init__(self, count: int):
        self.stamps = [NOW - HOUR * n for n in reversed(range(count))]
        self.asked = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        since = int(request.url.params.get("since", 0))
        self.asked.append(since)
        found = [stamp for stamp in self.stamps[-720:] if stamp > since or stamp == NOW]
        rows = [[stamp, "1.1", "1.3", "1.0", "1.2", "1.15", "5.5", 3] for stamp in found]
        return httpx2.Response(
            200, content=orjson.dumps({"error": [], "result": {"XXBTZUSD": rows, "last": NOW - HOUR}})
        )


def hours(**bounds: str) -> dict:
    return {"symbol": "XBTUSD", "interval": "1h", **bounds}


@pytest.mark.parametrize("count", [1, 719, 720, 5000])
async def test_all_there_is_comes_at_once_and_the_last_bar_is_running(subject, count):
    exchange = Exchange(count)
    run = await ask(subject, hours(), exchange)
    (page,) = run.pages
    assert (page.rows.stamp.astype("int64") // 1_000_000).tolist() == exchange.stamps[-720:]
    assert page.rows.running.tolist() == [False] * (min(count, 720) - 1) + [True]
    assert exchange.asked == [0]


@pytest.mark.parametrize(
    ("count", "start", "refused"),
    [
        (5000, "2023-12-07T13:00:00Z", False),
        (5000, "2023-12-07T12:30:00Z", False),
        (5000, "2023-12-07T12:00:00Z", True),
        (5000, "2020-01-01T00:00:00Z", True),
        (719, "2020-01-01T00:00:00Z", False),
    ],
)
async def test_a_start_before_the_oldest_bar_is_refused(subject, count, start, refused):
    run = await ask(subject, hours(start=start), Exchange(count))
    if refused:
        assert type(run.error) is UnsupportedRequest
        assert "newest 720 bars, 1h back to 2023-12-07T13:00Z" in str(run.error)
        assert run.pages == []
    else:
        assert run.error is None
        assert len(run.pages[0].rows) == min(count, 720)


async def test_a_range_that_ends_before_the_oldest_bar_is_refused(subject):
    run = await ask(subject, hours(end="2023-12-07T13:00:00Z"), Exchange(5000))
    assert type(run.error) is UnsupportedRequest
    run = await ask(subject, hours(end="2023-12-07T14:00:00Z"), Exchange(5000))
    assert run.error is None


async def test_the_first_bar_asked_for_comes_although_since_is_exclusive(subject):
    exchange = Exchange(100)
    run = await ask(subject, hours(start="2024-01-06T09:30:00Z"), exchange)
    assert [str(stamp)[11:16] for stamp in run.pages[0].rows.stamp] == ["10:00", "11:00", "12:00"]
    assert exchange.asked == [NOW - 2 * HOUR - 1]


@pytest.mark.parametrize(
    ("start", "end"), [("2024-01-02T00:00:00Z", "2024-01-02T00:00:00Z"), ("9999-12-31T23:59:59Z", None)]
)
async def test_an_empty_range_or_the_future_costs_one_request_that_tells_the_pair(subject, start, end):
    exchange = Exchange(10)
    run = await ask(subject, hours(start=start, **({"end": end} if end else {})), exchange)
    assert run.error is None
    assert [page.listing.symbol for page in run.pages] == ["XBTUSD"]
    assert len(exchange.asked) == 1
    assert exchange.asked[0] <= NOW


async def test_what_the_spec_calls_its_history_is_there_at_any_second_of_a_bar(subject):
    for second in (0, 1, HOUR - 1):
        moment = datetime.fromtimestamp(NOW + second, UTC)
        subject.payload["now"] = moment.isoformat()
        start = moment - KrakenClient.spec.history[Interval.H1]
        run = await ask(subject, hours(start=start.isoformat()), Exchange(5000))
        assert run.error is None
