"""Bars out over HTTP: which series answer, statuses, ranges, limits, taking back."""

import pytest

from tests.support.api import PREFIX, add_instrument, assert_problem, days, prices, row, store

PATH = f"{PREFIX}/prices"


def closes(body: dict) -> list[float]:
    return [one["close"] for one in body["data"]]


async def test_the_envelope(client):
    number = await add_instrument(client)
    await store(client, [row("2024-01-02", volume=None, open=9.5, high=11.25, low=9.0)])
    assert await prices(client) == {
        "data": [
            {
                "symbol": "ACME",
                "ts": "2024-01-02T00:00:00Z",
                "open": 9.5,
                "high": 11.25,
                "low": 9.0,
                "close": 10.0,
                "volume": None,
            }
        ],
        "symbols": {
            "ACME": {
                "status": "complete",
                "count": 1,
                "instrument_id": number,
                "exchange": "XNAS",
                "currency": "USD",
                "interval": "1d",
                "source": "api",
                "basis": "raw",
                "derived_from": None,
            }
        },
        "next_page_token": None,
    }


@pytest.fixture
async def market(client):
    """A and B with bars, EMPTY without, TWIN on two exchanges, OLD retired."""
    ids = {symbol: await add_instrument(client, symbol) for symbol in ("A", "B", "EMPTY")}
    for exchange in ("XNAS", "XNYS"):
        ids[f"{exchange}:TWIN"] = await add_instrument(client, "TWIN", exchange=exchange)
    ids["OLD"] = await add_instrument(client, "OLD", active=False)
    await store(client, days(3, close=10.0), symbol="A")
    await store(client, days(3, close=20.0), symbol="B")
    await store(client, days(1, close=30.0), symbol="TWIN", exchange="XNYS")
    await store(client, days(1, close=40.0), symbol=None, instrument_id=ids["OLD"])
    return ids


async def test_symbols_as_asked_each_with_its_status(client, market):
    asked = ["B", "nobody", "TWIN", "EMPTY", "XNYS:TWIN", "OLD", "A"]
    body = await prices(client, symbols=",".join(asked))
    assert list(body["symbols"]) == asked
    assert [body["symbols"][one]["status"] for one in asked] == [
        "complete",
        "not_found",
        "ambiguous",
        "empty",
        "complete",
        "complete",
        "complete",
    ]
    assert [body["symbols"][one]["count"] for one in asked] == [3, 0, 0, 0, 1, 1, 3]
    assert closes(body) == [20.0, 20.01, 20.02, 30.0, 40.0, 10.0, 10.01, 10.02]
    assert [one["symbol"] for one in body["data"]][3:5] == ["XNYS:TWIN", "OLD"]
    unknown = body["symbols"]["nobody"]
    assert {unknown.pop(name) for name in ("instrument_id", "exchange", "currency", "source", "basis")} == {
        None
    }
    assert unknown["interval"] == "1d"
    assert body["symbols"]["EMPTY"]["instrument_id"] == market["EMPTY"]


async def test_sort_turns_time_and_not_the_symbols(client, market):
    body = await prices(client, symbols="B,A", sort="desc")
    assert closes(body) == [20.02, 20.01, 20.0, 10.02, 10.01, 10.0]


async def test_a_page_tells_how_far_it_got(client, market):
    statuses = {}
    for limit in (1, 3, 4, 6, 7):
        body = await prices(client, symbols="A,EMPTY,B,OLD", limit=limit)
        assert len(body["data"]) == limit if limit < 7 else 7
        statuses[limit] = [one["status"] for one in body["symbols"].values()]
        assert (body["next_page_token"] is None) == (limit == 7)
    assert statuses == {
        1: ["partial", "pending", "pending", "pending"],
        3: ["complete", "empty", "pending", "pending"],
        4: ["complete", "empty", "partial", "pending"],
        6: ["complete", "empty", "complete", "pending"],
        7: ["complete", "empty", "complete", "complete"],
    }


@pytest.mark.parametrize("format_name", ["json", "columns"])
async def test_all_unknown_is_404(client, market, format_name):
    query = {"symbols": "nobody,none", "interval": "1d", "format": format_name}
    body = assert_problem(await client.get(PATH, params=query), 404, "symbols")
    assert "nobody, none" in body["detail"]


@pytest.mark.parametrize("format_name", ["csv", "ndjson", "arrow", "parquet"])
async def test_rows_alone_need_every_symbol_known(client, market, format_name):
    query = {"interval": "1d", "format": format_name}
    body = assert_problem(await client.get(PATH, params=query | {"symbols": "A,x,TWIN,y"}), 404, "symbols")
    assert all(word in body["detail"] for word in ("x, y", "XNAS:TWIN", "XNYS:TWIN"))
    body = assert_problem(await client.get(PATH, params=query | {"symbols": "A,TWIN"}), 409, "symbols")
    assert "XNYS:TWIN" in body["detail"]
    body = assert_problem(
        await client.get(f"{PATH}/latest", params=query | {"symbols": "A,x"}), 404, "symbols"
    )
    assert (await client.get(PATH, params=query | {"symbols": "A,EMPTY"})).status_code == 200


async def test_all_ambiguous_is_an_answer_with_statuses(client, market):
    body = await prices(client, symbols="TWIN")
    assert body["symbols"]["TWIN"]["status"] == "ambiguous"
    assert body["data"] == []


async def test_a_colon_means_an_exchange_only_where_there_is_one(client, market):
    number = await add_instrument(client, "X:Y")
    await store(client, days(1), symbol="X:Y")
    body = await prices(client, symbols="X:Y,XNAS:X:Y,XNYS:X:Y,LSE:A")
    shown = [(one["status"], one["instrument_id"]) for one in body["symbols"].values()]
    assert shown == [("complete", number), ("complete", number), ("not_found", None), ("not_found", None)]


async def test_instruments_by_id(client, market):
    old, a = market["OLD"], market["A"]
    body = await prices(client, symbols=None, instrument_ids=f"{old},99,{a}")
    assert [one["symbol"] for one in body["data"]] == [str(old), *[str(a)] * 3]
    assert [one["status"] for one in body["symbols"].values()] == ["complete", "not_found", "complete"]
    gone = await client.get(PATH, params={"instrument_ids": "98,99", "interval": "1d"})
    assert_problem(gone, 404, "instrument_ids")
    one = await client.get(f"{PREFIX}/instruments/{a}/prices", params={"interval": "1d"})
    assert closes(one.json()) == [10.0, 10.01, 10.02]
    none = await client.get(f"{PREFIX}/instruments/99/prices", params={"interval": "1d"})
    assert_problem(none, 404, "instrument_id")


async def test_an_active_symbol_wins_over_retired_ones(client):
    retired = [await add_instrument(client, active=False) for _ in range(2)]
    body = await prices(client)
    assert body["symbols"]["ACME"]["status"] == "ambiguous"
    active = await add_instrument(client)
    assert active not in retired
    assert (await prices(client))["symbols"]["ACME"]["instrument_id"] == active


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ({}, [1, 2, 3, 4, 5]),
        ({"start": "2024-01-03"}, [3, 4, 5]),
        ({"end": "2024-01-03"}, [1, 2]),
        ({"start": "2024-01-02", "end": "2024-01-04"}, [2, 3]),
        ({"start": "2024-01-02T00:00:01Z", "end": "2024-01-04T00:00:01Z"}, [3, 4]),
        ({"start": "2024-01-02T01:00:00+02:00"}, [2, 3, 4, 5]),
        ({"start": "2024-01-03", "end": "2024-01-03"}, []),
        ({"start": "0001-01-01", "end": "9999-12-31"}, [1, 2, 3, 4, 5]),
    ],
)
async def test_ranges(client, span, expected):
    await add_instrument(client)
    await store(client, days(5))
    body = await prices(client, **span)
    assert [one["ts"] for one in body["data"]] == [f"2024-01-0{day}T00:00:00Z" for day in expected]
    assert body["symbols"]["ACME"]["status"] == ("complete" if expected else "empty")


async def test_one_series_answers_by_preference(client, app):
    await add_instrument(client)
    stored = [
        ("zeta", "raw", 1.0),
        ("alpha", "raw", 2.0),
        ("yahoo", "split", 3.0),
        ("ecb", "split_dividend", 4.0),
    ]
    chosen = []
    for source, basis, close in stored:
        await store(client, days(1, close=close), source=source, basis=basis)
        body = await prices(client)
        assert len(body["data"]) == 1
        info = body["symbols"]["ACME"]
        chosen.append((info["source"], info["basis"], closes(body)[0]))
    assert app.state.settings.source_preference == ("ecb", "binance", "alphavantage", "yahoo")
    assert chosen == [
        ("zeta", "raw", 1.0),
        ("alpha", "raw", 2.0),  # no preference: by name
        ("yahoo", "split", 3.0),
        ("ecb", "split_dividend", 4.0),
    ]
    await store(client, days(1, close=5.0), source="ecb", basis="raw")
    assert closes(await prices(client)) == [5.0]
    assert closes(await prices(client, basis="split_dividend")) == [4.0]
    assert closes(await prices(client, basis="split")) == [3.0]
    assert closes(await prices(client, source="zeta")) == [1.0]
    assert (await prices(client, source="zeta", basis="split"))["symbols"]["ACME"]["status"] == "empty"
    # The preferred series answers whatever the range, even with nothing.
    assert closes(await prices(client, start="2024-02-01")) == []


async def test_latest(client, market):
    await store(client, [row("2024-01-02", 12.0)], symbol="A", source="ecb")
    path = f"{PATH}/latest"
    body = (await client.get(path, params={"symbols": "B,EMPTY,A,nobody", "interval": "1d"})).json()
    assert [(one["symbol"], one["ts"], one["close"]) for one in body["data"]] == [
        ("B", "2024-01-03T00:00:00Z", 20.02),
        ("A", "2024-01-02T00:00:00Z", 12.0),
    ]
    assert [one["status"] for one in body["symbols"].values()] == [
        "complete",
        "empty",
        "complete",
        "not_found",
    ]
    assert body["next_page_token"] is None
    query = {"instrument_ids": market["A"], "interval": "1d", "source": "api", "basis": "raw"}
    body = (await client.get(path, params=query)).json()
    assert closes(body) == [10.02]
    csv = (await client.get(path, params={"symbols": "A", "interval": "1d", "format": "csv"})).text
    assert csv.splitlines()[1] == "A,2024-01-02T00:00:00Z,12.0,12.0,12.0,12.0,100.0"


async def test_bars_are_taken_back(client, market):
    path = f"{PREFIX}/instruments/{market['A']}/prices"
    await store(client, days(2, close=5.0), symbol="A", source="file", basis="split")
    query = {"interval": "1d", "source": "api", "start": "2024-01-02", "end": "2024-01-03"}
    assert (await client.delete(path, params=query)).json() == {"deleted": 1}
    assert (await client.delete(path, params=query)).json() == {"deleted": 0}
    assert closes(await prices(client, symbols="A", source="api")) == [10.0, 10.02]
    other = {"interval": "1d", "source": "file", "basis": "raw"}
    assert (await client.delete(path, params=other)).json() == {"deleted": 0}
    assert (await client.delete(path, params=other | {"basis": "split"})).json() == {"deleted": 2}
    assert_problem(await client.delete(path, params={"interval": "1d"}), 422, "source")
    assert_problem(await client.delete(path, params={"source": "api"}), 422, "interval")
    wrong = query | {"end": "2024-01-01"}
    assert_problem(await client.delete(path, params=wrong), 422, "end")
    gone = await client.delete(f"{PREFIX}/instruments/99/prices", params=query)
    assert_problem(gone, 404, "instrument_id")


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"symbols": None}, "symbols"),
        ({"instrument_ids": "1"}, "symbols"),
        ({"symbols": "A,B,A"}, "symbols"),
        ({"symbols": "A,,B"}, "symbols"),
        ({"symbols": "A\x00"}, "symbols"),
        ({"symbols": ",".join(f"S{n}" for n in range(1001))}, "symbols"),
        ({"symbols": None, "instrument_ids": "1,01"}, "instrument_ids"),
        ({"symbols": None, "instrument_ids": "1,1"}, "instrument_ids"),
        ({"symbols": None, "instrument_ids": "1,x"}, "instrument_ids"),
        ({"symbols": None, "instrument_ids": "0"}, "instrument_ids"),
        ({"symbols": None, "instrument_ids": "2147483648"}, "instrument_ids"),
        ({"interval": None}, "interval"),
        ({"interval": "1M"}, "interval"),
        ({"interval": "2d"}, "interval"),
        ({"interval": "1" * 41}, "interval"),
        ({"start": "2024-01-02T09:30:00"}, "start"),
        ({"start": "yesterday"}, "start"),
        ({"start": "2024-W01-1"}, "start"),
        ({"end": "1704153600"}, "end"),
        ({"start": "2024-01-03", "end": "2024-01-02"}, "end"),
        ({"limit": "0"}, "limit"),
        ({"limit": "1000001"}, "limit"),
        ({"limit": "100001", "format": "columns"}, "limit"),
        ({"limit": "100001", "format": "csv"}, "limit"),
        ({"limit": "100001", "format": "arrow"}, "limit"),
        ({"sort": "up"}, "sort"),
        ({"basis": "net"}, "basis"),
        ({"source": "Yahoo!"}, "source"),
        ({"format": "xml"}, "format"),
        ({"format": ""}, "format"),
    ],
)
async def test_wrong_questions(client, changed, field):
    query = {"symbols": "A", "interval": "1d"} | changed
    answer = await client.get(PATH, params={name: v for name, v in query.items() if v is not None})
    assert_problem(answer, 422, field)


async def test_the_greatest_limits_and_lists_are_taken(client):
    await add_instrument(client)
    for format_name, limit in (("json", 1_000_000), ("columns", 100_000), ("csv", 100_000)):
        query = {"symbols": "ACME", "interval": "1d", "limit": limit, "format": format_name}
        assert (await client.get(PATH, params=query)).status_code == 200
    many = ",".join(["ACME", *(f"S{n}" for n in range(999))])
    body = await prices(client, symbols=many)
    assert len(body["symbols"]) == 1000


async def test_the_default_limit_is_a_thousand(client):
    await add_instrument(client)
    minutes = [row(f"2024-01-02T{n // 60:02d}:{n % 60:02d}:00Z") for n in range(1001)]
    await store(client, minutes, interval="1m")
    for format_name in ("json", "columns"):
        query = {"symbols": "ACME", "interval": "1m", "format": format_name}
        body = (await client.get(PATH, params=query)).json()
        assert body["symbols"]["ACME"]["count"] == 1000
        assert body["symbols"]["ACME"]["status"] == "partial"
        assert body["next_page_token"]
    rows = await client.get(PATH, params={"symbols": "ACME", "interval": "1m", "format": "csv"})
    assert len(rows.text.splitlines()) == 1002
    assert "link" not in rows.headers
