"""Following tokens: every bar of the start exactly once, whatever else is written meanwhile."""

import base64
import io
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from market_data.core.bars import Bars
from market_data.core.interval import Basis, Interval
from market_data.repositories.market_price_writer import BarWriter, SeriesKey
from market_data.services.paging import encode_token
from tests.support.api import PREFIX, add_instrument, assert_problem, days, prices, store

PATH = f"{PREFIX}/prices"
START = datetime(2000, 1, 1, tzinfo=UTC)


def flat(stamps, close: float = 1.0) -> Bars:
    ts = np.array([stamp.replace(tzinfo=None) for stamp in sorted(stamps)], "datetime64[us]")
    column = np.full(len(ts), close)
    return Bars(ts, column, column, column, column, column)


async def write(database, instrument: int, bars: Bars, source: str = "api") -> None:
    async with database.session() as session:
        key = SeriesKey(instrument, Interval.M1, source, Basis.RAW)
        await BarWriter(session).upsert({key: bars}, 1)


async def follow(client, between=None, **query):
    """Rows of all pages; `between` is awaited after each page."""
    rows, pages, token = [], 0, None
    while True:
        body = await prices(client, **query, **({"page_token": token} if token else {}))
        rows += [(one["symbol"], one["ts"], one["close"]) for one in body["data"]]
        pages += 1
        if between is not None:
            await between(pages)
        token = body["next_page_token"]
        if token is None:
            return rows, pages, body
        assert len(body["data"]) == int(query["limit"])


@pytest.mark.parametrize("sort", ["asc", "desc"])
async def test_a_hundred_thousand_bars_while_others_write(client, database, sort):
    """Insertions before, behind and between, a preferred source appearing, a symbol becoming ambiguous."""
    ids = [await add_instrument(client, symbol) for symbol in ("AAA", "BBB")]
    even = [[START + timedelta(minutes=2 * n) for n in range(count)] for count in (70_000, 30_000)]
    for instrument, stamps in zip(ids, even, strict=True):
        await write(database, instrument, flat(stamps))

    async def meddle(page: int) -> None:
        odd = [START + timedelta(minutes=2 * n + 1) for n in range(page * 997, page * 997 + 500)]
        early = [START - timedelta(minutes=page)]
        late = [START + timedelta(minutes=300_000 + page)]
        for instrument in ids:
            await write(database, instrument, flat(odd + early + late, 2.0))
        if page == 2:
            await write(database, ids[0], flat(even[0][:10], 3.0), "ecb")
            await write(database, ids[1], flat(even[1], 3.0), "ecb")
            await add_instrument(client, "BBB", exchange="XNYS")
            await client.patch(f"{PREFIX}/instruments/{ids[0]}", json={"active": False})
            await add_instrument(client, "AAA")

    query = {"symbols": "BBB,AAA", "interval": "1m", "limit": "9000", "sort": sort}
    rows, pages, last = await follow(client, meddle, **query)
    assert pages >= 12
    assert len(rows) == len(set(rows))
    earlier = [row[:2] for row in rows if row[2] == 1.0]
    expected = [
        (symbol, f"{stamp:%Y-%m-%dT%H:%M:%SZ}")
        for symbol, stamps in (("BBB", even[1]), ("AAA", even[0]))
        for stamp in (stamps if sort == "asc" else reversed(stamps))
    ]
    assert earlier == expected
    assert {row[2] for row in rows} == {1.0, 2.0}  # never the series that came later
    for symbol, instrument in (("BBB", ids[1]), ("AAA", ids[0])):
        info = last["symbols"][symbol]
        assert (info["status"], info["source"], info["instrument_id"]) == ("complete", "api", instrument)
    fresh = await prices(client, symbols="BBB,AAA", interval="1m")
    assert [one["status"] for one in fresh["symbols"].values()] == ["ambiguous", "empty"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    counts=st.lists(st.integers(0, 7), min_size=1, max_size=4),
    limit=st.integers(1, 8),
    sort=st.sampled_from(["asc", "desc"]),
    start=st.integers(0, 7),
    end=st.integers(0, 8),
)
async def test_any_pages_are_the_whole(client, database, counts, limit, sort, start, end):
    async with database.engine.begin() as connection:
        await connection.execute(text("TRUNCATE instrument, series, market_price_intraday CASCADE"))
    symbols = [f"S{number}" for number in range(len(counts))]
    expected = []
    for symbol, count in zip(symbols, counts, strict=True):
        instrument = await add_instrument(client, symbol)
        stamps = [START + timedelta(minutes=n) for n in range(count)]
        await write(database, instrument, flat(stamps) if stamps else Bars.empty())
        inside = [f"2000-01-01T00:{n:02d}:00Z" for n in range(count) if start <= n < max(start, end)]
        expected += [(symbol, ts, 1.0) for ts in (inside if sort == "asc" else reversed(inside))]
    span = [START + timedelta(minutes=n) for n in (start, max(start, end))]
    query = {
        "symbols": ",".join(symbols),
        "interval": "1m",
        "sort": sort,
        "limit": str(limit),
        "start": span[0].isoformat(),
        "end": span[1].isoformat(),
    }
    rows, pages, last = await follow(client, **query)
    assert rows == expected
    assert pages == max(1, -(-len(expected) // limit))
    had = {symbol for symbol, *_ in expected}
    statuses = {symbol: info["status"] for symbol, info in last["symbols"].items()}
    assert statuses == {symbol: "complete" if symbol in had else "empty" for symbol in symbols}


@pytest.fixture
async def token(client):
    await add_instrument(client)
    await store(client, days(9))
    return (await prices(client, limit="2"))["next_page_token"]


@pytest.mark.parametrize(
    "changed",
    [
        {"symbols": "ACME,B"},
        {"symbols": None, "instrument_ids": "1"},
        {"interval": "1h"},
        {"start": "2023-01-01"},
        {"end": "2025-01-01"},
        {"source": "api"},
        {"basis": "raw"},
        {"sort": "desc"},
    ],
)
async def test_a_token_of_another_query_is_refused(client, token, changed):
    query = {"symbols": "ACME", "interval": "1d", "page_token": token} | changed
    answer = await client.get(PATH, params={name: v for name, v in query.items() if v is not None})
    body = assert_problem(answer, 400, "page_token")
    assert "another query" in body["detail"]


async def test_limit_and_format_may_change_on_the_way(client, token):
    csv = await client.get(
        PATH,
        params={"symbols": "ACME", "interval": "1d", "page_token": token, "format": "csv", "limit": "3"},
    )
    assert [line[5:15] for line in csv.text.splitlines()[1:]] == ["2024-01-03", "2024-01-04", "2024-01-05"]
    more = await client.get(csv.links["next"]["url"])
    assert more.headers["content-type"].startswith("text/csv")
    again = (await prices(client, page_token=token, limit="5"))["next_page_token"]
    rest = await client.get(
        PATH, params={"symbols": "ACME", "interval": "1d", "page_token": again, "format": "parquet"}
    )
    table = pq.read_table(io.BytesIO(rest.content))
    assert [stamp.day for stamp in table["ts"].to_pylist()] == [8, 9]
    same = await prices(client, page_token=token, interval="daily")
    assert len(same["data"]) == 7


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: "",
        lambda _: "x",
        lambda _: "!!!!",
        lambda token: token[:-1],
        lambda token: token + "A",
        lambda token: token[:9] + ("A" if token[9] != "A" else "B") + token[10:],
        lambda token: token.swapcase(),
        lambda token: token + "é",
        lambda _: base64.urlsafe_b64encode(b"\x00" * 40).decode(),
    ],
)
async def test_a_damaged_token_is_refused(client, token, damage):
    query = {"symbols": "ACME", "interval": "1d", "page_token": damage(token)}
    assert_problem(await client.get(PATH, params=query), 400, "page_token")


@pytest.mark.parametrize(
    "forged",
    [
        [5, 0, [1], []],
        [-1, 0, [1], []],
        [0, 2**62, [1], []],
        [0, -(2**62), [1], []],
        [0, 0, [2**40], []],
        [0, 0, [], []],
        [0, 0, [1, 1], []],
        [0, "x", [1], []],
        "text",
        {"position": 0},
    ],
)
async def test_a_forged_token_is_refused_like_a_damaged_one(client, token, forged):
    binding = ["prices", ("ACME",), (), Interval.D1, None, None, None, None, "asc"]
    whole = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    assert encode_token(msgspec.msgpack.decode(whole[6:]), binding) == token  # this is how they are made
    query = {"symbols": "ACME", "interval": "1d", "page_token": encode_token(forged, binding)}
    assert_problem(await client.get(PATH, params=query), 400, "page_token")


async def test_pages_go_on_when_the_bars_of_the_token_are_gone(client, token):
    path = f"{PREFIX}/instruments/1/prices"
    query = {"interval": "1d", "source": "api", "start": "2024-01-01", "end": "2024-01-05"}
    assert (await client.delete(path, params=query)).json() == {"deleted": 4}
    rest = await prices(client, page_token=token)
    assert [one["ts"][8:10] for one in rest["data"]] == ["05", "06", "07", "08", "09"]
    await client.delete(f"{PREFIX}/instruments/1", params={"cascade": "true"})
    answer = await client.get(PATH, params={"symbols": "ACME", "interval": "1d", "page_token": token})
    assert_problem(answer, 404, "symbols")


async def test_the_same_token_serves_an_instrument_and_its_id(client, token):
    page = await prices(client, symbols=None, instrument_ids="1", limit="4")
    path = f"{PREFIX}/instruments/1/prices"
    rest = await client.get(path, params={"interval": "1d", "page_token": page["next_page_token"]})
    assert [one["ts"][8:10] for one in rest.json()["data"]] == ["05", "06", "07", "08", "09"]


@pytest.mark.parametrize("format_name", ["csv", "ndjson", "arrow", "parquet"])
async def test_row_formats_link_to_their_next_page(client, token, format_name):
    query = {"symbols": "ACME", "interval": "1d", "limit": "4", "format": format_name}
    answer, sizes = await client.get(PATH, params=query), [0]
    while "link" in answer.headers:
        assert answer.headers["link"].endswith('; rel="next"')
        assert answer.headers["link"].startswith(f"<http://api.test{PATH}?")
        answer = await client.get(answer.links["next"]["url"])
        sizes.append(len(answer.content))
    assert len(sizes) == 3
    exact = await client.get(PATH, params=query | {"limit": "9"})
    assert "link" not in exact.headers
