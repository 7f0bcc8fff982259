"""Answers that are kept, compressed and sealed: byte for byte those that were given first."""

import gzip
from contextlib import asynccontextmanager

import httpx2
import numpy as np
import pytest
from backports import zstd

from market_data.core.bars import Bars
from market_data.core.interval import Basis, Interval
from market_data.main import create_app
from market_data.repositories.market_price_writer import SeriesKey
from market_data.services.price_page import PricePage
from market_data.services.sealing import SealingService
from tests.support.api import PREFIX, add_instrument, assert_problem, days, row, store
from tests.support.bars import upsert

PATH = f"{PREFIX}/prices"
FORMATS = ["json", "columns", "ndjson", "csv", "arrow", "parquet"]
OPEN = {"zstd": zstd.decompress, "gzip": gzip.decompress, None: bytes}
MINUTES = 20_000


@pytest.fixture
async def minutes(client, database):
    """MANY has bars of fourteen days, each of another price; FEW has two."""
    ids = [await add_instrument(client, symbol) for symbol in ("MANY", "FEW")]
    ts = np.datetime64("1990-01-01", "us") + np.arange(MINUTES) * np.timedelta64(1, "m")
    columns = [np.arange(MINUTES) / 100 + 1] * 5
    keys = [SeriesKey(number, Interval.M1, "api", Basis.RAW) for number in ids]
    many = Bars(ts, *columns)
    await upsert(database, {keys[0]: many, keys[1]: many.take(slice(2))})


async def ask(client, coding=None, method="GET", **params):
    """Ask, and give the body as it was sent."""
    query = {"symbols": "MANY", "interval": "1m"} | params
    headers = {"Accept-Encoding": coding or "identity"}
    async with client.stream(method, PATH, params=query, headers=headers) as answer:
        body = b"".join([piece async for piece in answer.aiter_raw()])
    assert answer.status_code == 200, body
    return answer.headers, body


@asynccontextmanager
async def another_client(settings):
    """A client of an app that has kept nothing yet."""
    app = create_app(settings)
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://api.test") as client,
    ):
        yield client


@pytest.fixture
def reads(monkeypatch):
    """The reads of bars so far."""
    found = []

    blocks = PricePage.blocks

    def noted(page):
        found.append(page)
        return blocks(page)

    monkeypatch.setattr(PricePage, "blocks", noted)
    return found


QUERIES = [
    {"limit": 3},
    {"limit": 5000},
    {"limit": 3, "sort": "desc"},
    {"symbols": "FEW,MANY", "limit": 4000},
]


@pytest.mark.parametrize("coding", [None, "zstd", "gzip"])
@pytest.mark.parametrize("format_name", FORMATS)
async def test_the_second_answer_is_the_first(client, minutes, reads, format_name, coding):
    whole = {} if format_name in {"json", "columns"} else {"start": "1990-01-02"}
    for query in [*QUERIES, whole]:
        first, body = await ask(client, coding, format=format_name, **query)
        asked = len(reads)
        second, again = await ask(client, coding, format=format_name, **query)
        assert again == body
        assert second["content-length"] == str(len(body))
        same = ("etag", "content-type", "cache-control", "vary")
        assert [first[name] for name in same] == [second[name] for name in same]
        assert first.get("link") == second.get("link")
        assert len(reads) == asked
    assert len(reads) == len(QUERIES) + 1


@pytest.mark.parametrize("format_name", FORMATS)
async def test_a_coding_says_the_same(client, minutes, format_name):
    for query in ({"limit": 3}, {"limit": 20_000, "sort": "desc"}):
        _, plain = await ask(client, None, format=format_name, **query)
        for coding in ("zstd", "gzip"):
            used = None if format_name == "parquet" else coding
            headers, body = await ask(client, coding, format=format_name, **query)
            assert headers.get("content-encoding") == used
            assert OPEN[used](body) == plain


@pytest.mark.parametrize("format_name", FORMATS)
async def test_every_answer_tells_what_it_varies_by(client, minutes, format_name):
    for coding in (None, "zstd"):
        for method in ("GET", "HEAD", "GET"):
            headers, body = await ask(client, coding, method, format=format_name, limit=3)
            varies = {name.strip().lower() for name in headers["vary"].split(",")}
            assert varies == {"accept", "accept-encoding"}
            assert bool(body) == (method == "GET")


@pytest.mark.parametrize("coding", [None, "zstd", "gzip"])
async def test_head_tells_what_get_does(client, minutes, coding):
    for query in ({"format": "csv"}, {"format": "json", "limit": 5}, {"format": "parquet"}):
        before, _ = await ask(client, coding, "HEAD", **query)
        got, body = await ask(client, coding, **query)
        after, nothing = await ask(client, coding, "HEAD", **query)
        assert nothing == b""
        assert len(body) > 100
        for name in ("content-type", "content-encoding", "etag", "vary", "cache-control"):
            assert before.get(name) == got.get(name) == after.get(name)
        assert after["content-length"] == str(len(body))


@pytest.mark.parametrize("coding", ["zstd", "gzip"])
async def test_errors_are_never_compressed(client, minutes, coding):
    for query, status in (({"symbols": "NOBODY"}, 404), ({"limit": "0"}, 422), ({"format": "xls"}, 422)):
        asked = {"symbols": "MANY", "interval": "1m"} | query
        answer = await client.get(PATH, params=asked, headers={"Accept-Encoding": coding})
        assert_problem(answer, status)
        assert "content-encoding" not in answer.headers
        assert "etag" not in answer.headers


@pytest.mark.parametrize("format_name", FORMATS)
async def test_sealed_bars_are_answered_byte_for_byte_like_rows(client, minutes, settings, format_name):
    queries = [
        {"limit": 5},
        {"limit": 5, "sort": "desc"},
        {"limit": 3000, "sort": "desc"},
        {"symbols": "FEW,MANY", "sort": "desc", "limit": 9000},
        {"start": "1990-01-02T12:00:00Z", "end": "1990-01-02T13:00:00Z", "sort": "desc"},
        {"start": "1990-01-02T12:00:00Z", "end": "1990-01-05", "limit": 4000},
    ]
    rows = [(await ask(client, format=format_name, **query))[1] for query in queries]
    async with another_client(settings) as other:
        assert await SealingService(other._transport.app.state.database).seal() == 15
        assert [(await ask(other, format=format_name, **query))[1] for query in queries] == rows


async def test_a_kept_answer_is_never_given_after_a_write(client):
    await add_instrument(client)
    query = {"symbols": "ACME", "interval": "1d", "format": "csv"}
    for close in (1.0, 2.0, 1.0, 3.0):
        await store(client, [row("2024-01-01", close)])
        for _ in range(2):
            _, body = await ask(client, **query)
            assert (
                body.decode().splitlines()[1]
                == f"ACME,2024-01-01T00:00:00Z,{close},{close},{close},{close},100.0"
            )
    await store(client, days(1, close=9.0), source="ecb")
    assert b",9.0," in (await ask(client, **query))[1]


async def test_an_answer_that_was_left_half_way_is_not_kept(client, minutes, reads):
    query = {"format": "csv", "start": "1990-01-01"}
    await ask(client, None, "HEAD", **query)
    _, body = await ask(client, **query)
    assert len(reads) == 2
    assert body.count(b"\n") == MINUTES + 1


@pytest.fixture
def settings(settings, request):
    """The app of a test may keep no answers."""
    return settings.model_copy(update=getattr(request, "param", {}))


@pytest.mark.parametrize("settings", [{"frame_cache_bytes": 0}], indirect=True)
async def test_nothing_is_kept_where_that_is_switched_off(client, minutes, reads):
    for query in ({"limit": 3}, {"format": "csv"}, {"format": "ndjson", "end": "1980-01-01"}):
        _, first = await ask(client, **query)
        _, second = await ask(client, **query)
        assert first == second
    assert len(reads) == 6


@pytest.mark.parametrize("coding", [None, "zstd", "gzip"])
@pytest.mark.parametrize("format_name", FORMATS)
async def test_an_answer_without_rows_is_a_whole_answer(client, minutes, format_name, coding):
    nothing = {"ndjson": b"", "csv": b"symbol,ts,open,high,low,close,volume\n"}
    for query in ({}, {"limit": 3}, {"limit": 5000}):
        for _ in range(2):
            headers, body = await ask(client, coding, format=format_name, end="1980-01-01", **query)
            body = OPEN[headers.get("content-encoding")](body)
            assert format_name not in nothing or body == nothing[format_name]
