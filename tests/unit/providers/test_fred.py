"""Pages of FRED, and ranges in which there is nothing to ask."""

import json

import httpx2
import pytest

from market_data.core.exceptions import MalformedAnswer, UnsupportedRequest
from market_data.etl.clients.fred import FredClient
from tests.support.provider_contract import Subject, ask

SUBJECT = Subject.load(FredClient)
WANTED = {"symbol": "DGS10", "interval": "1d"}


def described(frequency: str) -> httpx2.Response:
    series = {
        "id": "DGS10",
        "title": "Ten years",
        "frequency": f"Each {frequency}",
        "frequency_short": frequency,
    }
    return httpx2.Response(200, content=json.dumps({"seriess": [series]}))


async def test_a_page_given_again_is_not_stored_again():
    def vendor(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/fred/series":
            return described("D")
        days = [{"date": f"2024-01-0{day}", "value": "3.9"} for day in (2, 3)]
        page = {"units": "lin", "output_type": 1, "count": 4, "limit": 2, "observations": days}
        return httpx2.Response(200, content=json.dumps(page | {"offset": int(request.url.params["offset"])}))

    run = await ask(SUBJECT, WANTED, vendor)
    assert isinstance(run.error, MalformedAnswer)
    assert len(run.pages) == 1


@pytest.mark.parametrize(
    ("frequency", "interval", "hint"),
    [("M", "1d", "ask for 1mo"), ("W", "1mo", "ask for 1w"), ("D", "1w", "ask for 1d"), ("Q", "1mo", "")],
)
async def test_values_of_another_frequency_are_not_asked(frequency, interval, hint):
    asked: list[str] = []

    def vendor(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.path)
        return described(frequency)

    run = await ask(SUBJECT, WANTED | {"interval": interval}, vendor)
    assert isinstance(run.error, UnsupportedRequest)
    assert hint in str(run.error)
    assert ("ask for" in str(run.error)) == bool(hint)
    assert asked == ["/fred/series"]


@pytest.mark.parametrize("start", ["2024-01-05", "2024-02-01"])
async def test_of_an_empty_or_future_range_the_series_alone_is_asked(start):
    span = {"start": f"{start}T00:00:00+00:00"} | (
        {"end": "2024-01-05T00:00:00+00:00"} if start < "2024-02" else {}
    )
    run = await ask(SUBJECT, WANTED | span, lambda _: described("D"))
    assert run.error is None
    assert [(len(page.rows), page.listing.symbol) for page in run.pages] == [(0, WANTED["symbol"])]
