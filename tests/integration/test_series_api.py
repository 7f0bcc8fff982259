"""What is stored, over HTTP."""

import pytest

from tests.support.api import PREFIX, add_instrument, assert_problem, days, row, store

PATH = f"{PREFIX}/series"


@pytest.fixture
async def stored(client):
    """Two instruments with three series, and one without any."""
    ids = [await add_instrument(client, symbol) for symbol in ("BBB", "AAA", "NONE")]
    await store(client, days(3), symbol="BBB")
    await store(client, days(2, first=5), symbol="AAA", source="file", basis="split")
    await store(client, [row("2024-01-02T09:00:00Z")], symbol="AAA", interval="1h")
    return ids


async def listed(client, **query):
    answer = await client.get(PATH, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def test_what_a_series_tells(client, stored):
    one = (await listed(client, symbols="AAA", interval="1d"))[0]
    assert one.pop("updated").endswith("Z")
    assert one == {
        "instrument_id": stored[1],
        "symbol": "AAA",
        "exchange": "XNAS",
        "interval": "1d",
        "source": "file",
        "basis": "split",
        "first": "2024-01-05T00:00:00Z",
        "last": "2024-01-06T00:00:00Z",
        "count": 2,
    }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, [("AAA", "1d"), ("AAA", "1h"), ("BBB", "1d")]),
        ({"symbols": "BBB"}, [("BBB", "1d")]),
        ({"symbols": "XNAS:BBB,NONE,nobody"}, [("BBB", "1d")]),
        ({"symbols": "NONE"}, []),
        ({"interval": "60min"}, [("AAA", "1h")]),
        ({"source": "api"}, [("AAA", "1h"), ("BBB", "1d")]),
        ({"source": "yahoo"}, []),
        ({"symbols": "AAA,BBB", "source": "file", "interval": "1d"}, [("AAA", "1d")]),
    ],
)
async def test_filters(client, stored, query, expected):
    found = await listed(client, **query)
    assert sorted((one["symbol"], one["interval"]) for one in found) == expected


async def test_series_without_bars_are_not_listed(client, stored):
    path = f"{PREFIX}/instruments/{stored[0]}/prices"
    answer = await client.delete(path, params={"interval": "1d", "source": "api", "start": "2024-01-02"})
    assert answer.json() == {"deleted": 2}
    one = (await listed(client, symbols="BBB"))[0]
    assert (one["first"], one["last"], one["count"]) == (*["2024-01-01T00:00:00Z"] * 2, 1)
    await client.delete(path, params={"interval": "1d", "source": "api"})
    assert await listed(client, symbols="BBB") == []


async def test_every_instrument_a_symbol_may_mean_is_shown(client):
    for exchange, active in (("XNAS", True), ("XNYS", True), ("XNYS", False), ("XNYS", False)):
        number = await add_instrument(client, "TWIN", exchange=exchange, active=active)
        await store(client, days(1), symbol=None, instrument_id=number)
    assert [one["instrument_id"] for one in await listed(client, symbols="TWIN")] == [1, 2, 3, 4]
    assert [one["instrument_id"] for one in await listed(client, symbols="XNYS:TWIN")] == [2, 3, 4]


async def test_pages_and_their_tokens(client, stored):
    whole = await listed(client)
    found, token = [], None
    while True:
        query = {"limit": 1} | ({"page_token": token} if token else {})
        page = (await client.get(PATH, params=query)).json()
        found += page["data"]
        token = page["next_page_token"]
        if token is None:
            break
    assert found == whole
    token = (await client.get(PATH, params={"limit": 1})).json()["next_page_token"]
    for other in ({"source": "api"}, {"interval": "1d"}, {"symbols": "AAA"}):
        assert_problem(await client.get(PATH, params=other | {"page_token": token}), 400, "page_token")


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ({"symbols": "nobody"}, 404, "symbols"),
        ({"symbols": "A,A"}, 422, "symbols"),
        ({"symbols": ","}, 422, "symbols"),
        ({"symbols": ""}, 422, "symbols"),
        ({"interval": "1M"}, 422, "interval"),
        ({"interval": "2d"}, 422, "interval"),
        ({"source": "A B"}, 422, "source"),
        ({"limit": "0"}, 422, "limit"),
        ({"page_token": "x"}, 400, "page_token"),
    ],
)
async def test_wrong_questions(client, stored, query, status, field):
    assert_problem(await client.get(PATH, params=query), status, field)
