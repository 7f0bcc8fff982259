"""What is known of series over HTTP: stretches, gaps, repair; and corrections of calendars."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from market_data.core import clock
from market_data.core.interval import Interval
from market_data.etl.provider import BarRequest
from tests.support.api import PREFIX, add_instrument, assert_problem, row, store
from tests.support.fake import CRYPTO, Fake, drain, page

PATH, GAPS, REPAIR = f"{PREFIX}/coverage", f"{PREFIX}/gaps", f"{PREFIX}/gaps/repair"
CALENDARS = f"{PREFIX}/calendars"
NOW = datetime(2024, 1, 11, 12, 0, tzinfo=UTC)  # a Thursday


@pytest.fixture(autouse=True)
def in_january(monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: NOW)


async def daily(client, symbol: str, *days: int, source: str = "file", **values) -> None:
    await add_instrument(client, symbol, **values)
    await store(client, [row(f"2024-01-{day:02d}") for day in days], symbol=symbol, source=source)


async def answered(database, series_id: int, state: str, start: str, end: str) -> None:
    """Write into the ledger."""
    async with database.engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO coverage (series_id, state, start_ts, end_ts) VALUES "
                "(:id, :state, CAST(:start AS text)::timestamptz, CAST(:end AS text)::timestamptz)"
            ),
            {"id": series_id, "state": state, "start": start, "end": end},
        )


def spans(found: dict) -> list[tuple]:
    return [(one["state"], one["start"][5:10], one["end"][5:10], one["bars"]) for one in found["stretches"]]


async def test_stretches_of_a_series(client, database):
    """Its source has said that there is nothing at the weekend, nor on Tuesday."""
    await daily(client, "ACME", 2, 3, 5, 8, 10)
    await answered(database, 1, "answered", "2024-01-02", "2024-01-11")
    await answered(database, 1, "no_trade", "2024-01-06", "2024-01-08")
    await answered(database, 1, "no_trade", "2024-01-09", "2024-01-10")
    body = (await client.get(PATH)).json()
    (found,) = body["data"]
    assert body["next_page_token"] is None
    version = found.pop("calendar_version")
    assert version.startswith("exchange_calendars ")
    assert spans(found) == [
        ("present", "01-02", "01-04", 2),
        ("missing", "01-04", "01-05", 1),
        ("present", "01-05", "01-09", 2),
        ("no_trade", "01-09", "01-10", 1),
        ("present", "01-10", "01-11", 1),
    ]
    del found["stretches"]
    assert found == {
        "series_id": 1,
        "instrument_id": 1,
        "symbol": "ACME",
        "exchange": "XNAS",
        "interval": "1d",
        "source": "file",
        "basis": "raw",
        "calendar": "XNYS",
        "watermark": "2024-01-11T00:00:00Z",
        "counts": {"present": 5, "no_trade": 1, "missing": 1, "failed": 0, "not_yet": 0},
    }


async def test_a_window(client):
    await daily(client, "ACME", 2, 3, 5, 8)
    query = {"start": "2024-01-03", "end": "2024-01-05"}
    (found,) = (await client.get(PATH, params=query)).json()["data"]
    assert spans(found) == [("present", "01-03", "01-04", 1), ("missing", "01-04", "01-05", 1)]
    (gap,) = (await client.get(GAPS, params=query)).json()["data"]
    assert (gap["start"], gap["bars"]) == ("2024-01-04T00:00:00Z", 1)
    assert (await client.get(GAPS, params=query | {"start": "2024-01-05"})).json()["data"] == []
    backwards = {"start": "2024-01-05", "end": "2024-01-03"}
    assert_problem(await client.get(PATH, params=backwards), 422, "end")
    assert_problem(await client.get(GAPS, params=backwards), 422, "end")


async def test_series_without_bars_but_with_answers_are_told(client, database):
    await daily(client, "ACME", 2)
    async with database.engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO series (instrument_id, interval, source, basis) VALUES "
                "(1, '1h', 'file', 'raw'), (1, '1w', 'file', 'raw')"
            )
        )
        (hourly,) = (await connection.execute(text("SELECT id FROM series WHERE interval = '1h'"))).one()
    await answered(database, hourly, "answered", "2024-01-02T14:00Z", "2024-01-02T16:00Z")
    await answered(database, hourly, "no_trade", "2024-01-02T14:00Z", "2024-01-02T16:00Z")
    found = (await client.get(PATH)).json()["data"]
    assert [(one["interval"], one["counts"]["no_trade"]) for one in found] == [("1d", 0), ("1h", 2)]


async def test_filters_and_pages(client):
    await daily(client, "BBB", 2, 4)
    await daily(client, "AAA", 2, 4, 8)
    await daily(client, "CCC", 2, source="ecb", exchange="FX", asset_class="fx")

    async def symbols(**query) -> list[str]:
        return [one["symbol"] for one in (await client.get(PATH, params=query)).json()["data"]]

    assert await symbols() == ["AAA", "BBB", "CCC"]
    assert await symbols(symbols="BBB,XNAS:AAA") == ["AAA", "BBB"]
    assert await symbols(instrument_ids="1") == ["BBB"]
    assert await symbols(source="ecb") == ["CCC"]
    assert await symbols(interval="1h") == []
    first = (await client.get(PATH, params={"limit": 2})).json()
    rest = await client.get(PATH, params={"page_token": first["next_page_token"]})
    assert [one["symbol"] for one in rest.json()["data"]] == ["CCC"]
    assert_problem(await client.get(PATH, params={"limit": 101}), 422, "limit")
    assert_problem(await client.get(PATH, params={"symbols": "NONE"}), 404, "symbols")
    assert_problem(await client.get(PATH, params={"symbols": "AAA", "instrument_ids": "1"}), 422, "symbols")
    other = {"page_token": first["next_page_token"], "source": "ecb"}
    assert_problem(await client.get(PATH, params=other), 400, "page_token")


async def test_gaps_page_by_page(client):
    await daily(client, "BBB", 2, 4, 9)
    await daily(client, "AAA", 2, 4, 8)
    await daily(client, "CCC", 2, 3)
    whole = (await client.get(GAPS)).json()["data"]
    assert whole[0] == {
        "series_id": 2,
        "instrument_id": 2,
        "symbol": "AAA",
        "exchange": "XNAS",
        "interval": "1d",
        "source": "file",
        "basis": "raw",
        "state": "missing",
        "start": "2024-01-03T00:00:00Z",
        "end": "2024-01-04T00:00:00Z",
        "bars": 1,
    }
    assert [(one["symbol"], one["start"][5:10], one["bars"]) for one in whole] == [
        ("AAA", "01-03", 1),
        ("AAA", "01-05", 1),
        ("BBB", "01-03", 1),
        ("BBB", "01-05", 2),  # a Friday and the Monday after it
    ]
    for limit in (1, 2, 3, 4):
        found, token = [], None
        while token or not found:
            query = {"limit": limit} | ({"page_token": token} if token else {})
            body = (await client.get(GAPS, params=query)).json()
            assert len(body["data"]) == limit or body["next_page_token"] is None
            found += body["data"]
            token = body["next_page_token"]
        assert found == whole
    other = (await client.get(GAPS, params={"limit": 1})).json()["next_page_token"]
    assert_problem(await client.get(GAPS, params={"page_token": other, "interval": "1d"}), 400, "page_token")


async def test_gaps_of_more_series_than_are_read_at_a_time(client, monkeypatch):
    monkeypatch.setattr("market_data.services.gaps._AT_ONCE", 2)
    for symbol in ("AAA", "BBB", "CCC", "DDD", "EEE"):
        await daily(client, symbol, 2, 4)
    assert len((await client.get(GAPS)).json()["data"]) == 5
    assert len((await client.get(GAPS, params={"symbols": "AAA,BBB"})).json()["data"]) == 2
    first = (await client.get(GAPS, params={"limit": 1})).json()
    assert [one["symbol"] for one in first["data"]] == ["AAA"]
    rest = await client.get(GAPS, params={"page_token": first["next_page_token"]})
    assert [one["symbol"] for one in rest.json()["data"]] == ["BBB", "CCC", "DDD", "EEE"]


@pytest.fixture
async def crypto(client, database):
    """BTCUSDT of binance, by the day, from 1 to 4 January; its provider left out the 3rd and meant it."""
    fake = Fake("binance")
    fake.answers["BTCUSDT"] = [
        page({"2024-01-01": 1.0, "2024-01-02": 2.0, "2024-01-04": 4.0}, CRYPTO),
    ]
    body = {"provider": "binance", "symbols": ["BTCUSDT"], "start": "2024-01-01", "end": "2024-01-05"}
    await client.post(f"{PREFIX}/ingestions", json=body)
    await drain(database, fake.open)
    async with database.engine.begin() as connection:
        await connection.execute(text("TRUNCATE coverage"))
    fake.asked.clear()
    return fake


async def test_repairing_fills_what_the_source_has(client, database, crypto):
    (gap,) = (await client.get(GAPS)).json()["data"]
    assert (gap["symbol"], gap["state"], gap["start"]) == ("BTCUSDT", "missing", "2024-01-03T00:00:00Z")
    answer = await client.post(REPAIR, json={"symbols": ["BTCUSDT"]})
    assert answer.status_code == 202
    (job,) = answer.json()["data"]
    assert answer.json()["next_page_token"] is None
    assert (job["kind"], job["provider"], job["priority"]) == ("repair", "binance", 20)
    assert job["parameters"] == {"series_id": 1}
    again = (await client.post(REPAIR, json={"instrument_ids": [1], "interval": "1d"})).json()["data"]
    assert [one["id"] for one in again] == [job["id"]]
    crypto.answers["BTCUSDT"] = [page({"2024-01-03": 3.0}, CRYPTO)]
    assert [(one.kind, one.error) for one in await drain(database, crypto.open)] == [("repair", None)]
    assert crypto.asked == [
        BarRequest(
            symbol="BTCUSDT",
            interval=Interval.D1,
            start=datetime(2024, 1, 3, tzinfo=UTC),
            end=datetime(2024, 1, 4, tzinfo=UTC),
        )
    ]
    assert (await client.get(GAPS)).json()["data"] == []
    runs = (await client.get(f"{PREFIX}/ingestions")).json()["data"]
    assert (runs[0]["job_id"], runs[0]["inserted"], runs[0]["expected"]) == (job["id"], 1, 1)


async def test_gaps_may_be_asked_elsewhere(client, database, crypto):
    body = {"symbols": ["BTCUSDT"], "provider": "Kraken"}
    told = assert_problem(await client.post(REPAIR, json=body), 422, "provider")
    assert "nobody knows what kraken calls" in told["detail"]
    async with database.engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO provider_symbol (provider, instrument_id, symbol) "
                "VALUES ('kraken', 1, 'XBTUSDT')"
            )
        )
    (job,) = (await client.post(REPAIR, json=body)).json()["data"]
    assert (job["kind"], job["provider"]) == ("fetch", "kraken")
    assert job["run"]["parameters"]["spans"] == [["2024-01-03T00:00:00+00:00", "2024-01-04T00:00:00+00:00"]]
    kraken = Fake("kraken")
    kraken.answers["XBTUSDT"] = [page({"2024-01-03": 3.5}, CRYPTO)]
    assert [one.error for one in await drain(database, kraken.open)] == [None]
    series = (await client.get(f"{PREFIX}/series")).json()["data"]
    assert [(one["source"], one["count"]) for one in series] == [("binance", 3), ("kraken", 1)]
    named = {"symbols": ["BTCUSDT"], "provider": "binance", "source": "binance"}
    (own,) = (await client.post(REPAIR, json=named)).json()["data"]
    assert own["kind"] == "repair"


async def test_a_series_of_which_nobody_knows_the_name(client, database, crypto):
    """What was imported as a provider's has no symbol of it: its job is given up, and says why."""
    async with database.engine.begin() as connection:
        await connection.execute(text("TRUNCATE provider_symbol"))
    (job,) = (await client.post(REPAIR, json={"symbols": ["BTCUSDT"]})).json()["data"]
    (done,) = await drain(database, crypto.open)
    assert (done.id, "nobody knows what binance calls" in str(done.error)) == (job["id"], True)


async def test_what_cannot_be_repaired(client, database):
    await daily(client, "ACME", 2, 4)
    told = assert_problem(await client.post(REPAIR, json={"symbols": ["ACME"]}), 422, "provider")
    assert "came from no provider" in told["detail"]
    assert_problem(await client.post(REPAIR, json={"symbols": ["ACME"], "interval": "1h"}), 422, "symbols")
    assert_problem(await client.post(REPAIR, json={"symbols": ["NONE"]}), 404, "symbols")
    assert_problem(
        await client.post(REPAIR, json={"symbols": ["ACME"], "provider": "nobody"}), 422, "provider"
    )
    assert_problem(await client.post(REPAIR, json={}), 422, "body")
    assert_problem(await client.post(REPAIR, json={"symbols": ["ACME"], "instrument_ids": [1]}), 422, "body")
    assert_problem(await client.post(REPAIR, json={"symbols": []}), 422, "symbols")
    assert (await client.get(f"{PREFIX}/jobs")).json()["data"] == []


async def test_calendars_and_their_corrections(client):
    names = {one["name"]: one["overrides"] for one in (await client.get(CALENDARS)).json()["data"]}
    assert list(names) == sorted(names)
    assert {"24/7", "24/5", "weekdays", "XNYS", "XLON"} <= set(names)
    assert set(names.values()) == {0}
    day = f"{CALENDARS}/XNYS/overrides/2024-01-04"
    closed = await client.put(day, json={"note": "snow"})
    assert closed.status_code == 200
    assert closed.json() == {
        "calendar": "XNYS",
        "day": "2024-01-04",
        "opens_at": None,
        "closes_at": None,
        "note": "snow",
        "created_at": closed.json()["created_at"],
    }
    await daily(client, "ACME", 3, 5)
    assert (await client.get(GAPS)).json()["data"] == []
    short = {"opens_at": "2024-01-04T14:30:00Z", "closes_at": "2024-01-04T13:00:00-05:00"}
    assert (await client.put(day, json=short)).json()["closes_at"] == "2024-01-04T18:00:00Z"
    assert len((await client.get(GAPS)).json()["data"]) == 1
    await client.put(f"{CALENDARS}/24%2F7/overrides/2024-02-01", json={})
    (found,) = (await client.get(f"{CALENDARS}/24%2F7/overrides")).json()["data"]
    assert (found["calendar"], found["day"], found["note"]) == ("24/7", "2024-02-01", None)
    names = {one["name"]: one["overrides"] for one in (await client.get(CALENDARS)).json()["data"]}
    assert (names["XNYS"], names["24/7"], names["XLON"]) == (1, 1, 0)
    assert (await client.delete(day)).status_code == 204
    assert_problem(await client.delete(day), 404, "day")
    assert (await client.get(f"{CALENDARS}/XNYS/overrides")).json() == {"data": [], "next_page_token": None}


async def test_corrections_that_make_no_sense(client):
    day = f"{CALENDARS}/XNYS/overrides/2024-01-04"
    noon = "2024-01-04T12:00:00Z"
    assert_problem(await client.put(day, json={"opens_at": noon}), 422, "closes_at")
    assert_problem(await client.put(day, json={"opens_at": noon, "closes_at": noon}), 422, "closes_at")
    far = {"opens_at": "2024-02-01T12:00:00Z", "closes_at": "2024-02-01T13:00:00Z"}
    assert_problem(await client.put(day, json=far), 422, "opens_at")
    assert_problem(await client.put(f"{CALENDARS}/NOPE/overrides/2024-01-04", json={}), 404, "calendar")
    assert_problem(await client.get(f"{CALENDARS}/NOPE/overrides"), 404, "calendar")
    assert_problem(await client.delete(f"{CALENDARS}/NOPE/overrides/2024-01-04"), 404, "calendar")
    assert_problem(await client.put(f"{CALENDARS}/XNYS/overrides/someday", json={}), 422, "day")
    told = await client.post(day)
    assert_problem(told, 405)
    assert told.headers["allow"] == "PUT, DELETE"
