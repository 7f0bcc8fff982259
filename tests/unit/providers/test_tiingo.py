"""What Tiingo is asked, and in what it is not."""

import httpx2
import pytest

from market_data.etl.clients.tiingo import TiingoClient
from tests.support.provider_contract import KEY, Subject, ask

SUBJECT = Subject.load(TiingoClient)
WANTED = {"symbol": "GOOGL", "interval": "1d"}


@pytest.mark.parametrize("start", ["2024-01-05", "2024-02-01"])
async def test_nothing_is_asked_for_an_empty_or_future_range(start):
    span = {"end": "2024-01-05T00:00:00+00:00"} if start < "2024-02" else {}
    request = WANTED | {"start": f"{start}T00:00:00+00:00"} | span
    run = await ask(SUBJECT, request, lambda _: pytest.fail("asked"))
    assert (run.pages, run.error) == ([], None)


async def test_a_known_ticker_without_prices_in_a_range_has_no_page():
    asked: list[httpx2.Request] = []

    def vendor(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        prices = request.url.path.endswith("/prices")
        return httpx2.Response(200, content="[]" if prices else '{"ticker":"GOOGL","startDate":"2004-08-19"}')

    run = await ask(SUBJECT, WANTED | {"start": "2024-01-01T00:00:00+00:00"}, vendor)
    assert (run.pages, run.error) == ([], None)
    assert {request.headers["authorization"] for request in asked} == {f"Token {KEY}"}
    assert not [request for request in asked if KEY in str(request.url)]
