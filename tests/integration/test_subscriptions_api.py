"""Subscriptions over HTTP: made, changed, listed, looked after."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from market_data.core import clock
from market_data.core.exceptions import SymbolNotFound
from tests.support.api import PREFIX, assert_problem
from tests.support.fake import Fake, drain, page

PATH = f"{PREFIX}/subscriptions"
BODY = {"provider": "ecb", "symbols": ["EURUSD"], "intervals": ["1d"], "since": "2024-01-01"}


async def subscribe(client, *symbols: str, **values) -> list[dict]:
    answer = await client.post(PATH, json=BODY | {"symbols": list(symbols)} | values)
    assert answer.status_code == 201, answer.text
    assert answer.json()["next_page_token"] is None
    return answer.json()["data"]


async def test_a_subscription_is_made_and_read(client):
    before = datetime.now(UTC)
    (made,) = await subscribe(client, "EURUSD")
    assert before <= datetime.fromisoformat(made["due_at"]) <= datetime.now(UTC)
    stamps = {name: made[name] for name in ("due_at", "created_at", "updated_at")}
    assert made == stamps | {
        "id": 1,
        "watchlist": "default",
        "provider": "ecb",
        "symbol": "EURUSD",
        "interval": "1d",
        "exchange": None,
        "since": "2024-01-01T00:00:00Z",
        "schedule": None,
        "active": True,
        "failures": 0,
        "error": None,
        "series_id": None,
        "watermark": None,
    }
    assert (await client.get(f"{PATH}/1")).json() == made


async def test_each_symbol_is_kept_at_each_interval(client):
    made = await subscribe(
        client, "BTCUSDT", "ETHUSDT", "BTCUSDT", provider="Binance", intervals=["1m", "1Day"]
    )
    assert [(one["provider"], one["symbol"], one["interval"]) for one in made] == [
        ("binance", "BTCUSDT", "1d"),
        ("binance", "BTCUSDT", "1m"),
        ("binance", "ETHUSDT", "1d"),
        ("binance", "ETHUSDT", "1m"),
    ]


async def test_many_are_stored_at_once_and_listed_page_by_page(client):
    symbols = [f"S{number}" for number in range(1000)]
    made = await subscribe(client, *symbols, provider="binance", intervals=["1m", "1h"])
    assert len({one["id"] for one in made}) == 2000
    first = (await client.get(PATH, params={"limit": 1000, "interval": "1m"})).json()
    assert len(first["data"]) == 1000
    assert first["next_page_token"] is None
    found, token = [], None
    while token or not found:
        query = {"limit": 700} | ({"page_token": token} if token else {})
        body = (await client.get(PATH, params=query)).json()
        found += [one["id"] for one in body["data"]]
        token = body["next_page_token"]
    assert found == sorted({one["id"] for one in made})
    half = (await client.get(PATH, params={"limit": 700})).json()["next_page_token"]
    assert_problem(await client.get(PATH, params={"active": True, "page_token": half}), 400, "page_token")


async def test_repeating_changes_what_is_named_and_nothing_else(client):
    await client.post(f"{PREFIX}/schedules", json={"name": "evening", "cron": "30 22 * * 1-5"})
    (made,) = await subscribe(
        client, "EURUSD", watchlist="rates", exchange="FX", schedule="evening", active=False
    )
    assert (made["watchlist"], made["exchange"], made["schedule"]) == ("rates", "FX", "evening")
    (same,) = await subscribe(client, "EURUSD", since="2023-01-01")
    assert same["id"] == made["id"]
    assert same["since"] == "2023-01-01T00:00:00Z"
    for name in ("watchlist", "exchange", "schedule", "active", "created_at"):
        assert same[name] == made[name]
    (moved,) = await subscribe(client, "EURUSD", watchlist="others", active=True)
    assert (moved["watchlist"], moved["active"], moved["schedule"]) == ("others", True, "evening")


async def test_filters(client, database):
    await subscribe(client, "EURUSD", watchlist="rates")
    await subscribe(client, "BTCUSDT", provider="binance", intervals=["1m"], active=False)
    async with database.engine.begin() as connection:
        await connection.execute(text("UPDATE subscription SET failures = 2 WHERE symbol = 'BTCUSDT'"))

    async def symbols(**query) -> list[str]:
        return [one["symbol"] for one in (await client.get(PATH, params=query)).json()["data"]]

    assert await symbols() == ["EURUSD", "BTCUSDT"]
    assert await symbols(watchlist="rates") == ["EURUSD"]
    assert await symbols(provider="binance") == ["BTCUSDT"]
    assert await symbols(interval="1d") == ["EURUSD"]
    assert await symbols(active=True) == ["EURUSD"]
    assert await symbols(failing=True) == ["BTCUSDT"]
    assert await symbols(failing=False) == ["EURUSD"]


async def test_a_merge_patch(client):
    await client.post(f"{PREFIX}/schedules", json={"name": "evening", "cron": "30 22 * * 1-5"})
    await subscribe(client, "EURUSD", exchange="FX")

    async def change(**values) -> dict:
        answer = await client.patch(f"{PATH}/1", json=values)
        assert answer.status_code == 200, answer.text
        return answer.json()

    assert (await change(schedule="evening"))["schedule"] == "evening"
    found = await change(since="2020-06-01", watchlist="old", active=False)
    assert (found["since"], found["watchlist"], found["active"]) == ("2020-06-01T00:00:00Z", "old", False)
    assert (found["schedule"], found["exchange"]) == ("evening", "FX")
    found = await change(schedule=None, exchange=None)
    assert (found["schedule"], found["exchange"], found["watchlist"]) == (None, None, "old")
    assert (await client.get(f"{PATH}/1")).json() == found
    for wrong in ({"since": None}, {"watchlist": None}, {"active": None}, {"provider": "x"}):
        assert_problem(await client.patch(f"{PATH}/1", json=wrong), 422, next(iter(wrong)))
    assert_problem(await client.patch(f"{PATH}/1", json={"schedule": "none"}), 404, "schedule")
    assert_problem(await client.patch(f"{PATH}/2", json={"active": True}), 404, "subscription_id")


async def test_deleting_leaves_the_bars(client, database):
    await subscribe(client, "EURUSD")
    fake = Fake()
    fake.answers["EURUSD"] = [page({"2024-01-02": 1.1})]
    await client.post(f"{PATH}/1/sync")
    await drain(database, fake.open)
    assert (await client.delete(f"{PATH}/1")).status_code == 204
    assert_problem(await client.get(f"{PATH}/1"), 404, "subscription_id")
    assert_problem(await client.delete(f"{PATH}/1"), 404, "subscription_id")
    assert_problem(await client.post(f"{PATH}/1/sync"), 404, "subscription_id")
    assert [one["count"] for one in (await client.get(f"{PREFIX}/series")).json()["data"]] == [1]


async def test_it_is_looked_after_at_once_when_asked(client, database, monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: datetime(2024, 1, 5, 12, 0, tzinfo=UTC))
    await subscribe(client, "EURUSD")
    fake = Fake()
    fake.answers["EURUSD"] = [page({"2024-01-02": 1.1, "2024-01-05": 1.2})]
    answer = await client.post(f"{PATH}/1/sync")
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"{PREFIX}/jobs/{job['id']}"
    assert (job["kind"], job["provider"], job["status"], job["run"]) == ("sync", "ecb", "queued", None)
    assert job["parameters"] == {"subscription_id": 1}
    assert (await client.post(f"{PATH}/1/sync")).json()["id"] == job["id"]
    assert [(one.kind, one.error) for one in await drain(database, fake.open)] == [("sync", None)]
    found = (await client.get(f"{PATH}/1")).json()
    assert (found["series_id"], found["watermark"]) == (1, "2024-01-05T00:00:00Z")
    (run,) = (await client.get(f"{PREFIX}/ingestions", params={"subscription_id": 1})).json()["data"]
    assert (run["subscription_id"], run["job_id"], run["inserted"]) == (1, job["id"], 1)
    none = await client.get(f"{PREFIX}/ingestions", params={"subscription_id": 2})
    assert none.json()["data"] == []


async def test_a_failure_is_told(client, database):
    await subscribe(client, "EURUSD")
    fake = Fake()
    fake.answers["EURUSD"] = [SymbolNotFound("ecb", "no such currency")]
    await client.post(f"{PATH}/1/sync")
    assert [str(one.error) for one in await drain(database, fake.open)] == ["ecb: no such currency"]
    (found,) = (await client.get(PATH, params={"failing": True})).json()["data"]
    assert (found["failures"], found["error"]) == (1, "ecb: no such currency")


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"provider": "nobody"}, "provider"),
        ({"provider": "a b"}, "provider"),
        ({"symbols": []}, "symbols"),
        ({"symbols": ["A B"]}, "symbols.0"),
        ({"symbols": ["A"] * 1001}, "symbols"),
        ({"intervals": []}, "intervals"),
        ({"intervals": ["1M"]}, "intervals.0"),
        ({"intervals": ["1m"]}, "intervals"),
        ({"since": None}, "since"),
        ({"since": "2024-01-02T00:00:00"}, "since"),
        ({"since": "2999-01-01"}, "since"),
        ({"watchlist": "A B"}, "watchlist"),
        ({"exchange": "?"}, "exchange"),
        ({"schedule": "Evening"}, "schedule"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_wrong_requests_store_nothing(client, changed, field):
    assert_problem(await client.post(PATH, json=BODY | changed), 422, field)
    assert (await client.get(PATH)).json()["data"] == []


async def test_what_else_is_refused(client, monkeypatch):
    monkeypatch.delenv("ALPHA_VANTAGE_API_KEY", raising=False)
    assert_problem(await client.post(PATH, json=BODY | {"provider": "alphavantage"}), 409, "provider")
    assert_problem(await client.post(PATH, json=BODY | {"schedule": "none"}), 404, "schedule")
    await client.post(f"{PREFIX}/schedules", json={"name": "tidy", "task": "retention", "cron": "0 3 * * *"})
    told = assert_problem(await client.post(PATH, json=BODY | {"schedule": "tidy"}), 422, "schedule")
    assert "retention" in told["detail"]
    without = {name: value for name, value in BODY.items() if name != "since"}
    assert_problem(await client.post(PATH, json=without), 422, "since")
