"""Pages of Polygon, from vendors that lead elsewhere, in circles, or nowhere."""

import json

import httpx2
import pytest

from market_data.core.exceptions import MalformedAnswer
from market_data.etl.clients.polygon import PolygonClient
from tests.support.provider_contract import KEY, Subject, ask, rows

SUBJECT = Subject.load(PolygonClient)
MINUTE = 60_000
FIRST = 1_704_465_000_000
PATH = "/v2/aggs/ticker/AAPL/range/1/minute"
WANTED = {
    "symbol": "AAPL",
    "interval": "1m",
    "start": "2024-01-05T14:30:00+00:00",
    "end": "2024-01-05T15:00:00+00:00",
}


def page(stamps: list[int], following: str | None = None) -> httpx2.Response:
    bars = [{"t": stamp, "o": 1.5, "h": 2.5, "l": 0.5, "c": 1.25, "v": 7} for stamp in stamps]
    body = {"ticker": "AAPL", "status": "OK", "adjusted": False, "resultsCount": len(bars), "results": bars}
    return httpx2.Response(200, content=json.dumps(body | ({"next_url": following} if following else {})))


async def test_the_next_page_is_asked_here_and_the_key_stays_in_its_header():
    asked: list[httpx2.Request] = []

    def vendor(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        where = f"https://elsewhere.invalid{PATH}/{FIRST + MINUTE}/9?cursor=A%3D%3D&apiKey={KEY}"
        return page([FIRST], where) if len(asked) == 1 else page([FIRST + MINUTE])

    run = await ask(SUBJECT, WANTED, vendor)
    assert [row[0] for row in rows(run.pages)] == ["2024-01-05T14:30:00", "2024-01-05T14:31:00"]
    assert {request.url.host for request in asked} == {"api.polygon.io"}
    assert dict(asked[1].url.params) == {"cursor": "A=="}
    assert {request.headers["authorization"] for request in asked} == {f"Bearer {KEY}"}


@pytest.mark.parametrize(
    "following",
    [
        f"https://api.polygon.io{PATH.replace('AAPL', 'AAPLX')}/1/2?cursor=A",
        "https://api.polygon.io/v3/reference/tickers?cursor=A",
        "https://api.polygon.io",
        "nowhere",
    ],
)
async def test_a_next_page_of_something_else_is_not_asked(following):
    run = await ask(SUBJECT, WANTED, lambda _: page([FIRST], following))
    assert isinstance(run.error, MalformedAnswer)
    assert len(run.pages) == 1


async def test_a_page_given_again_is_not_stored_again():
    run = await ask(SUBJECT, WANTED, lambda _: page([FIRST], f"https://a.invalid{PATH}/1/2?cursor=A"))
    assert isinstance(run.error, MalformedAnswer)
    assert len(run.pages) == 1


@pytest.mark.parametrize("circle", [1, 2, 1_000_000])
async def test_empty_pages_in_a_circle_or_without_end_are_left(circle):
    asked = 0

    def vendor(_: httpx2.Request) -> httpx2.Response:
        nonlocal asked
        asked += 1
        return page([], f"https://api.polygon.io{PATH}/1/2?cursor={asked % circle}")

    run = await ask(SUBJECT, WANTED, vendor)
    assert isinstance(run.error, MalformedAnswer)
    assert (run.pages, asked) == ([], min(circle + 1, 101))


async def test_a_server_that_ignores_the_range_is_left_when_its_end_is_reached():
    asked = 0

    def vendor(_: httpx2.Request) -> httpx2.Response:
        nonlocal asked
        asked += 1
        stamp = FIRST + 20 * MINUTE * (asked - 1)
        return page([stamp, stamp + MINUTE], f"https://api.polygon.io{PATH}/1/2?cursor={asked}")

    run = await ask(SUBJECT, WANTED, vendor)
    assert (run.error, len(run.pages), asked) == (None, 3, 3)


@pytest.mark.parametrize(("start", "end"), [("2024-01-05", "2024-01-05"), ("2024-02-01", "2024-02-02")])
async def test_of_an_empty_or_future_range_the_ticker_alone_is_asked(start, end):
    span = {"start": f"{start}T00:00:00+00:00", "end": f"{end}T00:00:00+00:00"}
    asked: list[str] = []

    def vendor(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.path)
        return httpx2.Response(200, content='{"status":"OK","results":{"ticker":"AAPL"}}')

    run = await ask(SUBJECT, WANTED | span, vendor)
    assert run.error is None
    assert [(len(one.rows), one.listing.symbol) for one in run.pages] == [(0, "AAPL")]
    assert asked == ["/v3/reference/tickers/AAPL"]
