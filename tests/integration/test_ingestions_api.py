"""Runs over HTTP, followed to their end, whatever that is; and which instrument a listing means."""

import asyncio
from datetime import UTC, datetime
from functools import partial

import httpx2
import numpy as np
import pytest
from sqlalchemy import text

from market_data.core.exceptions import (
    InvalidInput,
    MalformedAnswer,
    ProviderAuthError,
    SymbolNotFound,
)
from market_data.core.vocabulary import AssetClass
from market_data.db.liveness import Liveness
from market_data.etl.provider import Listing
from market_data.main import create_app
from market_data.services import worker
from market_data.services.ingestion import IngestionService, IngestRequest
from market_data.services.jobs import JobRunner
from market_data.services.run import RunService
from tests.support.api import PREFIX, assert_problem, prices
from tests.support.fake import Fake, drain, page

PATH = f"{PREFIX}/ingestions"


@pytest.fixture
def fake(database):
    provider = Fake()
    provider.database = database
    return provider


async def submit(client, *symbols, **values):
    body = {"provider": "ecb", "symbols": list(symbols)} | values
    answer = await client.post(PATH, json=body)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"{PATH}/{answer.json()['id']}"
    return answer


async def follow(client, answer, fake) -> dict:
    """Have the queue worked off, and return the run."""
    await drain(fake.database, fake.open)
    run = (await client.get(answer.headers["location"])).json()
    assert run["finished_at"] is not None
    return run


def counts(run: dict) -> dict:
    names = ("inserted", "updated", "unchanged", "unfinished", "rejected")
    return {name: run[name] for name in names if run[name]}


async def test_a_run_is_queued_and_followed_to_its_end(client, fake):
    fake.answers["EURUSD"] = [page({"2024-01-02": 1.0956, "2024-01-03": 1.0919})]
    queued = await submit(client, "EURUSD", start="2024-01-01", end="2024-01-03T00:00:00Z")
    body = queued.json()
    assert body["status"] == "queued"
    assert (body["started_at"], body["finished_at"], body["error"]) == (None, None, None)
    assert (body["expected"], body["subscription_id"]) == (None, None)
    assert isinstance(body["job_id"], int)
    run = await follow(client, queued, fake)
    assert (run["status"], counts(run)) == ("succeeded", {"inserted": 1})
    assert run["parameters"].pop("request_id")
    assert run["parameters"] == {
        "provider": "ecb",
        "symbols": ["EURUSD"],
        "interval": "1d",
        "start": "2024-01-01T00:00:00+00:00",
        "end": "2024-01-03T00:00:00+00:00",
        "exchange": None,
        "name": None,
    }
    assert fake.asked[0].start == datetime(2024, 1, 1, tzinfo=UTC)
    body = await prices(client, symbols="EURUSD")
    assert [one["close"] for one in body["data"]] == [1.0956]
    again = await follow(client, await submit(client, "EURUSD", end="2024-01-03"), fake)
    assert counts(again) == {"unchanged": 1}
    fake.answers["EURUSD"] = [page({"2024-01-02": 1.0957, "2024-01-03": 1.0919})]
    assert counts(await follow(client, await submit(client, "EURUSD"), fake)) == {"inserted": 1, "updated": 1}


async def test_rejections_and_unfinished_bars_are_told(client, fake):
    today = np.datetime64("now", "D")
    fake.answers["EURUSD"] = [
        page({"2024-01-02": 1.1, "2024-01-03": -1.0, str(today): 1.2}, rejections=[("unreadable", "<?>")])
    ]
    run = await follow(client, await submit(client, "EURUSD"), fake)
    assert (run["status"], counts(run)) == ("partial", {"inserted": 1, "unfinished": 1, "rejected": 2})
    kept = (await client.get(f"{PATH}/{run['id']}/rejections")).json()["data"]
    assert [(one["symbol"], one["reason"], one["text"]) for one in kept] == [
        ("EURUSD", "not_positive", "row 1"),
        ("EURUSD", "unreadable", "<?>"),
    ]
    assert kept[0]["ts"] == "2024-01-03T00:00:00Z"


async def test_a_symbol_that_fails_does_not_stop_the_others(client, fake):
    fake.answers = {
        "GONE": [SymbolNotFound("ecb", "no such symbol")],
        "HALF": [page({"2024-01-02": 1.0}), MalformedAnswer("ecb", "cut off")],
        "EURUSD": [page({"2024-01-03": 2.0})],
    }
    run = await follow(client, await submit(client, "GONE", "HALF", "EURUSD"), fake)
    assert (run["status"], counts(run)) == ("partial", {"inserted": 2})
    assert run["error"] == "GONE: ecb: no such symbol; HALF: ecb: cut off"
    run = await follow(client, await submit(client, "GONE"), fake)
    assert (run["status"], counts(run)) == ("failed", {})


async def test_what_fails_for_all_symbols_alike_is_not_tried_on(client, fake):
    fake.answers = {"A": [ProviderAuthError("ecb", "key refused")], "B": [], "C": []}
    run = await follow(client, await submit(client, "A", "B", "C"), fake)
    assert run["status"] == "failed"
    assert run["error"] == "A: ecb: key refused; 2 more symbols were not tried"
    assert [one.symbol for one in fake.asked] == ["A"]


async def test_an_unexpected_failure_is_recorded_without_its_text(client, fake, caplog):
    fake.answers["A"] = [RuntimeError("apikey=secret")]
    run = await follow(client, await submit(client, "A"), fake)
    assert (run["status"], run["error"]) == ("failed", "RuntimeError")


async def test_a_provider_with_nothing_to_say(client, fake):
    fake.answers["EURUSD"] = [page({})]
    assert (await follow(client, await submit(client, "EURUSD"), fake))["status"] == "succeeded"


async def test_the_in_process_worker_does_runs_and_ends_with_the_server(
    settings, database, fake, monkeypatch
):
    fake.answers = {"EURUSD": [page({"2024-01-02": 1.0956})], "A": ["hang"]}
    monkeypatch.setattr(worker, "JobRunner", partial(JobRunner, open_client=fake.open))
    monkeypatch.setattr(worker, "_GRACE", 0.0)
    app = create_app(settings.model_copy(update={"jobs_at_once": 2}))
    async with app.router.lifespan_context(app), asyncio.timeout(20):
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://api.test") as client:
            done = await submit(client, "EURUSD")
            run = done.json()
            while run["finished_at"] is None:
                run = (await client.get(done.headers["location"])).json()
            assert (run["status"], counts(run)) == ("succeeded", {"inserted": 1})
            fake.started.clear()
            cut = await submit(client, "A")
            await fake.started.wait()
    run = await RunService(database).get(cut.json()["id"])
    assert (run.status, run.error) == ("cancelled", "stopped; repeating is safe")
    fake.answers["A"] = [page({"2024-01-03": 1.0956})]
    assert [(one.kind, one.error) for one in await drain(database, fake.open)] == [("fetch", None)]
    assert (await RunService(database).get(cut.json()["id"])).status == "succeeded"


async def test_runs_of_dead_processes_are_interrupted_and_others_are_not(client, database):
    liveness = Liveness(database)
    alive = await liveness.assert_alive()
    async with database.engine.begin() as connection:
        insert = text(
            "INSERT INTO ingestion_run (source, status, parameters, owner) VALUES ('api', :s, '{}', :o)"
        )
        for status, owner in (("running", 4711), ("queued", 4711), ("running", alive)):
            await connection.execute(insert, {"s": status, "o": owner})
    assert await RunService(database).interrupt_dead() == 2
    assert await RunService(database).interrupt_dead() == 0
    runs = (await client.get(PATH)).json()["data"]
    assert [one["status"] for one in runs] == ["running", "interrupted", "interrupted"]
    assert "repeating is safe" in runs[1]["error"]
    assert runs[1]["finished_at"]
    await liveness.close()
    assert await RunService(database).interrupt_dead() == 1


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"provider": "nobody"}, "provider"),
        ({"provider": "a b"}, "provider"),
        ({"provider": None}, "provider"),
        ({"symbols": []}, "symbols"),
        ({"symbols": "EURUSD"}, "symbols"),
        ({"symbols": ["A B"]}, "symbols.0"),
        ({"symbols": ["A"] * 1001}, "symbols"),
        ({"interval": "1M"}, "interval"),
        ({"interval": "1h"}, "interval"),
        ({"interval": 5}, "interval"),
        ({"start": "2024-01-02T00:00:00"}, "start"),
        ({"start": 1704153600}, "start"),
        ({"start": "2024-01-02", "end": "2024-01-01"}, "end"),
        ({"exchange": "?"}, "exchange"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_wrong_requests_start_nothing(client, fake, changed, field):
    body = {"provider": "ecb", "symbols": ["EURUSD"]} | changed
    assert_problem(await client.post(PATH, json=body), 422, field)
    assert (await client.get(PATH)).json()["data"] == []


async def test_a_missing_key_is_told(client, fake, monkeypatch):
    monkeypatch.delenv("ALPHA_VANTAGE_API_KEY", raising=False)
    body = assert_problem(
        await client.post(PATH, json={"provider": "alphavantage", "symbols": ["IBM"]}), 409, "provider"
    )
    assert "ALPHA_VANTAGE_API_KEY" in body["detail"]


async def test_providers_tell_what_they_offer(client, monkeypatch):
    monkeypatch.delenv("ALPHA_VANTAGE_API_KEY", raising=False)
    body = (await client.get(f"{PREFIX}/providers")).json()
    assert body["next_page_token"] is None
    told = {one["name"]: one for one in body["data"]}
    assert list(told) == sorted(told)
    assert {"alphavantage", "binance", "bitstamp", "coinbase", "ecb", "kraken", "yahoo"} <= set(told)
    assert (told["ecb"]["needs_key"], told["ecb"]["key_set"]) == (False, True)
    assert (told["alphavantage"]["needs_key"], told["alphavantage"]["key_set"]) == (True, False)
    assert told["ecb"]["basis"] == {"1d": "raw"}
    assert told["ecb"]["history_seconds"] == {}
    assert (told["ecb"]["requests_per_day"], told["alphavantage"]["requests_per_day"]) == (None, 25)
    assert told["yahoo"]["history_seconds"]["1m"] == 30 * 86_400
    monkeypatch.setenv("ALPHA_VANTAGE_API_KEY", "K3Y")
    body = (await client.get(f"{PREFIX}/providers")).json()
    assert {one["name"]: one["key_set"] for one in body["data"]}["alphavantage"] is True
    assert "K3Y" not in str(body)


async def test_a_wrong_provider_setting_is_told_as_unavailable(client, monkeypatch):
    monkeypatch.setenv("ECB_BASE_URL", "ftp://somewhere")
    body = assert_problem(await client.get(f"{PREFIX}/providers"), 503)
    assert "ECB_BASE_URL" in body["detail"]


async def test_runs_are_listed_newest_first_and_paged(client, fake):
    fake.answers = {"A": [SymbolNotFound("ecb", "no")], "EURUSD": [page({"2024-01-02": 1.0})]}
    for symbol in ("A", "EURUSD", "A", "EURUSD", "A"):
        await follow(client, await submit(client, symbol), fake)
    whole = (await client.get(PATH)).json()["data"]
    assert [one["id"] for one in whole] == [5, 4, 3, 2, 1]
    first = (await client.get(PATH, params={"limit": 2, "status": "failed"})).json()
    rest = await client.get(PATH, params={"status": "failed", "page_token": first["next_page_token"]})
    assert [one["id"] for one in first["data"] + rest.json()["data"]] == [5, 3, 1]
    assert rest.json()["next_page_token"] is None
    assert (await client.get(PATH, params={"source": "yahoo"})).json()["data"] == []
    token = {"page_token": first["next_page_token"]}
    assert_problem(await client.get(PATH, params=token), 400, "page_token")
    assert_problem(await client.get(f"{PATH}/1/rejections", params=token), 400, "page_token")
    assert_problem(await client.get(PATH, params={"status": "done"}), 422, "status")
    assert_problem(await client.get(f"{PATH}/99"), 404, "run_id")
    assert_problem(await client.get(f"{PATH}/99/rejections"), 404, "run_id")
    assert_problem(await client.get(f"{PATH}/x"), 422, "run_id")


async def test_a_run_fails_where_an_exchange_is_needed(client, fake):
    silent = Listing(symbol="ACME", asset_class=AssetClass.EQUITY, currency="USD")
    fake.answers["acme"] = [page({"2024-01-02": 1.0}, silent)]
    run = await follow(client, await submit(client, "acme"), fake)
    assert run["status"] == "failed"
    assert "does not say where ACME trades" in run["error"]
    run = await follow(client, await submit(client, "acme", exchange="XNAS"), fake)
    assert (run["status"], counts(run)) == ("succeeded", {"inserted": 1})


async def test_an_ingest_tells_its_progress(database, fake):
    fake.answers["EURUSD"] = [page({"2024-01-02": 1.0}), page({"2024-01-03": 1.0})]
    liveness, told = Liveness(database), []
    service = IngestionService(database, liveness, open_client=fake.open)
    run = await service.ingest(IngestRequest(provider="ecb", symbols=("EURUSD",)), told.append)
    assert run.inserted == 2
    assert [(one.symbol, one.symbols_done, one.symbols_wanted, one.bars) for one in told] == [
        ("EURUSD", 0, 1, 0),
        ("EURUSD", 0, 1, 2),  # pages that fit are stored together
    ]
    with pytest.raises(InvalidInput, match="before start"):
        await service.ingest(
            IngestRequest(
                provider="ecb",
                symbols=("EURUSD",),
                start=datetime(2024, 1, 2, tzinfo=UTC),
                end=datetime(2024, 1, 1, tzinfo=UTC),
            )
        )
    await liveness.close()
