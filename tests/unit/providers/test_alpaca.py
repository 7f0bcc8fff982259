"""Keys, feeds and pages of Alpaca."""

import json
from datetime import UTC, datetime

import httpx2
import pytest

from market_data.core.exceptions import MalformedAnswer, ProviderAuthError, SymbolNotFound
from market_data.etl.clients.alpaca import AlpacaClient, AlpacaSettings
from market_data.etl.http import HttpClient
from market_data.etl.provider import Page
from tests.support.pace import FakePace
from tests.support.provider_contract import KEY, Subject, ask, bar_request, rows

SUBJECT = Subject.load(AlpacaClient)
SECRET = "S3CRETOFTHETEST"
NOW = datetime(2024, 1, 5, 15, 20, tzinfo=UTC)
WANTED = {
    "symbol": "AAPL",
    "interval": "1m",
    "start": "2024-01-05T14:30:00+00:00",
    "end": "2024-01-05T15:00:00+00:00",
}


def page(minutes: list[int], token: str | None = None) -> httpx2.Response:
    bars = [
        {"t": f"2024-01-05T14:{minute}:00Z", "o": 1.5, "h": 2.5, "l": 0.5, "c": 1.25, "v": 7}
        for minute in minutes
    ]
    return httpx2.Response(200, content=json.dumps({"bars": {"AAPL": bars}, "next_page_token": token}))


async def fetch(request: dict, handler, **settings: object) -> list[Page]:
    chosen = AlpacaSettings(_env_file=None, api_key=KEY, **settings)
    transport = httpx2.MockTransport(handler)
    async with HttpClient(
        "alpaca",
        base_url=chosen.base_url,
        pace=FakePace(),
        secrets=chosen.secrets(),
        transport=transport,
    ) as http:
        client = AlpacaClient(http, chosen, now=lambda: NOW)
        return [found async for found in client.fetch_bars(bar_request(request))]


async def test_both_keys_travel_in_headers_and_are_masked():
    asked: list[httpx2.Request] = []

    def refuse(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return httpx2.Response(403, json={"message": f"{KEY} and {SECRET} do not match"})

    with pytest.raises(ProviderAuthError) as caught:
        await fetch(WANTED, refuse, api_secret=SECRET)
    assert (asked[0].headers["apca-api-key-id"], asked[0].headers["apca-api-secret-key"]) == (KEY, SECRET)
    assert KEY not in str(asked[0].url) + str(caught.value)
    assert SECRET not in str(asked[0].url) + str(caught.value)


async def test_a_missing_secret_is_named():
    def refuse(request: httpx2.Request) -> httpx2.Response:
        assert "apca-api-secret-key" not in request.headers
        return httpx2.Response(401, json={"message": "unauthorized."})

    with pytest.raises(ProviderAuthError, match="ALPACA_API_SECRET is not set"):
        await fetch(WANTED, refuse)


@pytest.mark.parametrize(
    ("feed", "interval", "end"),
    [
        ("sip", "1m", "15:03:59"),
        ("sip", "1h", "14:59:59"),
        ("sip", "1d", "15:03:59"),
        ("iex", "1m", "15:19:59"),
        ("iex", "1h", "14:59:59"),
        ("iex", "1d", "15:19:59"),
    ],
)
async def test_only_whole_bars_are_asked_and_none_that_is_not_free_yet(feed, interval, end):
    asked: list[dict] = []

    def vendor(request: httpx2.Request) -> httpx2.Response:
        asked.append(dict(request.url.params))
        return page([30])

    await fetch({**WANTED, "interval": interval, "end": "2024-01-06T00:00:00+00:00"}, vendor, feed=feed)
    assert [(one["feed"], one["end"]) for one in asked] == [(feed, f"2024-01-05T{end}Z")]


@pytest.mark.parametrize("start", ["2024-01-05T15:00:00+00:00", "2024-01-05T15:10:00+00:00"])
async def test_of_an_empty_range_or_one_that_is_not_free_yet_the_symbol_alone_is_asked(start):
    span = {"start": start, "end": "2024-01-05T15:00:00+00:00"} if start < "2024-01-05T15:05" else {}
    request = {"symbol": "AAPL", "interval": "1m", "start": start} | span
    asked: list[str] = []

    def vendor(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.params["limit"])
        return page([30])

    found = await fetch(request, vendor)
    assert [(len(one.rows), one.listing.symbol) for one in found] == [(0, "AAPL")]
    assert asked == ["1"]
    with pytest.raises(SymbolNotFound):
        await fetch(request, lambda _: page([]))


async def test_a_page_given_again_is_not_stored_again():
    run = await ask(SUBJECT, WANTED, lambda _: page([30, 31], "A"))
    assert isinstance(run.error, MalformedAnswer)
    assert len(run.pages) == 1


@pytest.mark.parametrize("circle", [1, 2, 1_000_000])
async def test_empty_pages_in_a_circle_or_without_end_are_left(circle):
    asked = 0

    def vendor(_: httpx2.Request) -> httpx2.Response:
        nonlocal asked
        asked += 1
        return page([], str(asked % circle))

    run = await ask(SUBJECT, WANTED, vendor)
    assert isinstance(run.error, MalformedAnswer)
    assert (run.pages, asked) == ([], min(circle + 1, 101))


async def test_a_server_that_ignores_the_range_is_left_when_its_end_is_reached():
    answers = iter([page([30, 31], "A"), page([45], "B"), page([59], "C"), page([], "D")])
    wanted = WANTED | {"end": "2024-01-05T14:40:00+00:00"}
    run = await ask(SUBJECT, wanted, lambda _: next(answers))
    assert run.error is None
    assert [row[0][14:16] for row in rows(run.pages)] == ["30", "31", "45"]
