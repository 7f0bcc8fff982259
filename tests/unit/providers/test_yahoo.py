"""Windows of time within what Yahoo keeps."""

from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from market_data.core.exceptions import UnsupportedRequest
from market_data.core.interval import Interval
from market_data.etl.clients.yahoo import YahooClient
from market_data.etl.http import HttpClient
from market_data.etl.provider import BarRequest
from tests.support.pace import FakePace
from tests.support.provider_contract import Subject, ask

NOW = datetime(2024, 3, 16, 12, tzinfo=UTC)
DAY = 86_400


@pytest.fixture
async def client():
    async with HttpClient("yahoo", base_url="https://yahoo.test", pace=FakePace()) as http:
        yield YahooClient(http, YahooClient.Settings(_env_file=None), now=lambda: NOW)


def windows(client, interval, start=None, end=None) -> list[tuple[int, int]]:
    return list(client._windows(BarRequest(symbol="X", interval=interval, start=start, end=end)))


def test_minutes_are_asked_by_the_week(client):
    found = windows(client, Interval.M1)
    assert found[0][0] == NOW.timestamp() - 30 * DAY + 3600
    assert found[-1][1] == NOW.timestamp() + DAY
    assert all(end - start <= 7 * DAY for start, end in found)
    assert [end for _, end in found[:-1]] == [start for start, _ in found[1:]]


@pytest.mark.parametrize(
    ("interval", "days"),
    [(Interval.M1, 30), (Interval.M5, 60), (Interval.M15, 60), (Interval.M30, 60), (Interval.H1, 730)],
)
def test_a_start_before_the_limit_is_refused_and_not_cut(client, interval, days):
    assert windows(client, interval, NOW - timedelta(days=days))
    with pytest.raises(UnsupportedRequest, match=f"{days} days"):
        windows(client, interval, NOW - timedelta(days=days + 1))


def test_days_have_no_limit(client):
    assert windows(client, Interval.D1) == [(-2_208_988_800, NOW.timestamp() + DAY)]
    assert windows(client, Interval.D1, datetime(1850, 1, 1, tzinfo=UTC))[0][0] == -2_208_988_800


def test_for_an_empty_or_future_range_a_day_is_asked_that_tells_the_symbol(client):
    now = int(NOW.timestamp())
    assert windows(client, Interval.M5, NOW, NOW) == [(now - DAY, now)]
    assert windows(client, Interval.D1, NOW + timedelta(days=3)) == [(now, now + DAY)]
    first = datetime.min.replace(tzinfo=UTC)
    assert windows(client, Interval.D1, first, first) == [(-2_208_988_800, -2_208_988_800 + DAY)]


async def test_of_several_windows_without_bars_one_comes():
    subject = Subject.load(YahooClient)
    case = next(case for case in subject.payload["cases"] if case["name"] == "nothing in the range")
    body = case["answers"][0]["body"].replace("1d", "1m")

    def vendor(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=body)

    run = await ask(subject, {"symbol": "AAPL", "interval": "1m"}, vendor)
    assert run.error is None
    assert [(len(page.rows), page.listing.symbol) for page in run.pages] == [(0, "AAPL")]
