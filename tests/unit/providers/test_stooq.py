"""Symbols of Stooq, and ranges in which there is nothing to ask."""

import httpx2
import pytest

from market_data.core.exceptions import SymbolNotFound
from market_data.etl.clients.stooq import StooqClient, StooqSettings
from market_data.etl.http import HttpClient
from tests.support.pace import FakePace
from tests.support.provider_contract import Subject, ask, bar_request

SUBJECT = Subject.load(StooqClient)


@pytest.mark.parametrize("start", ["2024-01-05", "2024-02-01"])
async def test_of_an_empty_or_future_range_the_days_before_it_are_asked(start):
    request = {"symbol": "aapl.us", "interval": "1d", "start": f"{start}T00:00:00+00:00"}
    span = {"end": "2024-01-05T00:00:00+00:00"} if start < "2024-02" else {}
    asked: list[str] = []

    def vendor(question: httpx2.Request) -> httpx2.Response:
        asked.append(question.url.params["d1"])
        return httpx2.Response(200, content="Date,Open,High,Low,Close,Volume\n2024-01-04,1,2,0.5,1.5,7\n")

    run = await ask(SUBJECT, request | span, vendor)
    assert run.error is None
    assert [page.listing.symbol for page in run.pages] == ["AAPL"]
    assert asked == ["20231222" if span else "20231223"]


@pytest.mark.parametrize("start", ["0001-01-01", "0001-01-20", "1024-01-01"])
async def test_any_start_can_be_written(start):
    request = {"symbol": "aapl.us", "interval": "1d", "start": f"{start}T00:00:00+00:00"}
    asked: list[str] = []

    def vendor(question: httpx2.Request) -> httpx2.Response:
        asked.append(question.url.params["d1"])
        return httpx2.Response(200, content="No data")

    run = await ask(SUBJECT, request, vendor)
    assert isinstance(run.error, SymbolNotFound)
    assert [len(one) for one in asked] == [8]


async def test_a_key_is_sent_only_if_there_is_one():
    asked: list[dict] = []

    def vendor(question: httpx2.Request) -> httpx2.Response:
        asked.append(dict(question.url.params))
        return httpx2.Response(200, content="Date,Open,High,Low,Close\n2024-01-04,1,1,1,1\n")

    settings = StooqSettings(_env_file=None)
    transport = httpx2.MockTransport(vendor)
    async with HttpClient("stooq", base_url=settings.base_url, pace=FakePace(), transport=transport) as http:
        client = StooqClient(http, settings)
        request = bar_request({"symbol": "eurusd", "interval": "1d"})
        assert [len(page.rows) async for page in client.fetch_bars(request)] == [1]
    assert asked == [{"s": "eurusd", "i": "d"}]
