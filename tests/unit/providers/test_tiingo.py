"""What Tiingo is asked, and in what it is not."""

import httpx2
import pytest

from market_data.etl.clients.tiingo import TiingoClient
from tests.support.provider_contract import KEY, Subject, ask

SUBJECT = Subject.load(TiingoClient)
WANTED = {"symbol": "GOOGL", "interval": "1d"}


@pytest.mark.parametrize("start", ["2024-01-05", "2024-02-01"])
async def test_of_an_empty_or_future_range_the_ticker_alone_is_asked(start):
    span = {"end": "2024-01-05T00:00:00+00:00"} if start < "2024-02" else {}
    request = WANTED | {"start": f"{start}T00:00:00+00:00"} | span
    asked: list[str] = []

    def vendor(question: httpx2.Request) -> httpx2.Response:
        asked.append(question.url.path)
        return httpx2.Response(200, content='{"ticker":"GOOGL","startDate":"2004-08-19"}')

    run = await ask(SUBJECT, request, vendor)
    assert run.error is None
    assert [(len(page.rows), page.listing.symbol) for page in run.pages] == [(0, "GOOGL")]
    assert asked == ["/tiingo/daily/GOOGL"]


async def test_a_known_ticker_without_prices_in_a_range_has_a_page_without_rows():
    asked: list[httpx2.Request] = []

    def vendor(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        prices = request.url.path.endswith("/prices")
        return httpx2.Response(200, content="[]" if prices else '{"ticker":"GOOGL","startDate":"2004-08-19"}')

    run = await ask(SUBJECT, WANTED | {"start": "2024-01-01T00:00:00+00:00"}, vendor)
    assert run.error is None
    assert [(len(page.rows), page.listing.symbol) for page in run.pages] == [(0, "GOOGL")]
    assert {request.headers["authorization"] for request in asked} == {f"Token {KEY}"}
    assert not [request for request in asked if KEY in str(request.url)]
