"""The queue over HTTP: seen, followed by events, tried again, cancelled."""

import asyncio
import json

import pytest
from sqlalchemy import text

from market_data.api import events
from market_data.core.exceptions import ProviderUnavailable
from market_data.services.watching import Watcher
from tests.support.api import PREFIX, assert_problem
from tests.support.fake import Fake, drain, finish, page, pick

PATH = f"{PREFIX}/jobs"
INGEST = {"provider": "ecb", "symbols": ["EURUSD"]}


async def submit(client, **values) -> dict:
    answer = await client.post(f"{PREFIX}/ingestions", json=INGEST | values)
    assert answer.status_code == 202, answer.text
    return answer.json()


async def told(client, job_id: int) -> list[tuple[str, dict]]:
    """Follow a job to the end of its events."""
    answer = await client.get(f"{PATH}/{job_id}/events")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-request-id"]
    found = []
    for block in answer.text.strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines())
        found.append((lines["event"], json.loads(lines["data"])))
    return found


async def test_a_job_and_its_run(client):
    run = await submit(client)
    found = (await client.get(f"{PATH}/{run['job_id']}")).json()
    stamps = {name: found[name] for name in ("created_at", "due_at")}
    assert found == stamps | {
        "id": run["job_id"],
        "kind": "fetch",
        "provider": "ecb",
        "status": "queued",
        "priority": 20,
        "parameters": {"run_id": run["id"], "request_id": run["parameters"]["request_id"]},
        "attempts": 0,
        "heartbeat_at": None,
        "run": run,
    }
    assert_problem(await client.get(f"{PATH}/999"), 404, "job_id")
    assert_problem(await client.get(f"{PATH}/x"), 422, "job_id")


async def test_lists(client, database):
    first, second = await submit(client), await submit(client, provider="binance", symbols=["BTCUSDT"])
    body = {"provider": "ecb", "symbols": ["EURUSD"], "intervals": ["1d"], "since": "2024-01-01"}
    await client.post(f"{PREFIX}/subscriptions", json=body)
    third = (await client.post(f"{PREFIX}/subscriptions/1/sync")).json()["id"]
    await pick(database, second["job_id"])

    async def ids(**query) -> list[int]:
        return [one["id"] for one in (await client.get(PATH, params=query)).json()["data"]]

    assert await ids() == [third, second["job_id"], first["job_id"]]
    assert await ids(status="running") == [second["job_id"]]
    assert await ids(kind="sync") == [third]
    assert await ids(provider="ecb") == [third, first["job_id"]]
    page_of_two = (await client.get(PATH, params={"limit": 2})).json()
    rest = (await client.get(PATH, params={"page_token": page_of_two["next_page_token"]})).json()
    assert ([one["id"] for one in rest["data"]], rest["next_page_token"]) == ([first["job_id"]], None)
    assert_problem(await client.get(PATH, params={"status": "done"}), 422, "status")


async def test_what_was_given_up_is_tried_again(client, database):
    run, fake = await submit(client), Fake()
    fake.answers["EURUSD"] = [ProviderUnavailable("ecb", "no answer")]
    await drain(database, fake.open)
    found = (await client.get(f"{PATH}/{run['job_id']}")).json()
    assert (found["status"], found["run"]["status"]) == ("failed", "failed")
    assert found["run"]["error"] == "EURUSD: ecb: no answer"
    (_, progress), (kind, end) = await told(client, run["job_id"])
    assert (progress["status"], kind, end["run"]["status"]) == ("failed", "end", "failed")
    again = await client.post(f"{PATH}/{run['job_id']}/retry")
    assert (again.status_code, again.json()["status"]) == (200, "queued")
    fake.answers["EURUSD"] = [page({"2024-01-02": 1.1})]
    await drain(database, fake.open)
    assert_problem(await client.get(f"{PATH}/{run['job_id']}"), 404, "job_id")
    assert_problem(await client.post(f"{PATH}/{run['job_id']}/retry"), 404, "job_id")
    assert (await client.get(f"{PREFIX}/ingestions/{run['id']}")).json()["status"] == "succeeded"


async def test_a_cancelled_job_is_gone_and_its_run_says_so(client, database):
    run = await submit(client)
    assert (await client.delete(f"{PATH}/{run['job_id']}")).status_code == 204
    assert_problem(await client.delete(f"{PATH}/{run['job_id']}"), 404, "job_id")
    after = (await client.get(f"{PREFIX}/ingestions/{run['id']}")).json()
    assert (after["status"], after["error"]) == ("cancelled", "its job was cancelled")
    assert await drain(database, Fake().open) == []


async def test_events_of_a_job_that_ended_tell_its_outcome(client, database):
    run, fake = await submit(client), Fake()
    fake.answers["EURUSD"] = [page({"2024-01-02": 1.1})]
    await drain(database, fake.open)
    ((kind, data),) = await told(client, run["job_id"])
    assert (kind, data["job_id"], data["run"]["status"]) == ("end", run["job_id"], "succeeded")
    assert data["run"]["inserted"] == 1
    assert_problem(await client.get(f"{PATH}/999/events"), 404, "job_id")
    assert_problem(await client.get(f"{PATH}/0/events"), 422, "job_id")


@pytest.fixture
def steps(monkeypatch, database):
    """What happens between two events, instead of a second that passes; the time in between is one."""
    planned: list = []
    moment = iter(range(100))

    async def instead(awaitable, seconds):
        assert seconds == 1.0
        awaitable.close()
        await planned.pop(0)()
        raise TimeoutError

    monkeypatch.setattr(events.asyncio, "wait_for", instead)
    monkeypatch.setattr(events, "Watcher", lambda database: Watcher(database, lambda: float(next(moment))))
    return planned


async def test_events_follow_a_job_to_its_end(client, database, steps):
    run = await submit(client)
    job_id = run["job_id"]

    def has(done: int, status: str = "running"):
        async def change() -> None:
            async with database.engine.begin() as connection:
                await connection.execute(
                    text("UPDATE ingestion_run SET inserted = :n, expected = 1000, status = :s"),
                    {"n": done, "s": status},
                )

        return change

    async def ends() -> None:
        await has(1000, "succeeded")()
        await finish(database, job_id)

    async with database.engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO provider_budget (account, next_at, blocked_until) VALUES "
                "('ecb', '2024-01-02T00:00:01Z', NULL), "
                "('ecb:abcd', '2024-01-02T00:00:00Z', '2024-01-02T00:01:00Z'), ('binance', now(), now())"
            )
        )
    steps[:] = [has(100), has(300), ends]
    *progress, (kind, end) = await told(client, job_id)
    assert [kind for kind, _ in progress] == ["progress"] * 3
    first, second, third = (data for _, data in progress)
    assert first == {
        "status": "queued",
        "attempts": 0,
        "run_id": run["id"],
        "done": 0,
        "expected": None,
        "rate": 0.0,
        "eta_seconds": None,
        "budget": {"next_at": "2024-01-02T00:00:01Z", "blocked_until": "2024-01-02T00:01:00Z"},
    }
    assert (second["done"], second["expected"]) == (100, 1000)
    assert (second["rate"], second["eta_seconds"]) == (100.0, 9.0)
    assert (third["done"], third["rate"]) == (300, 150.0)
    assert third["eta_seconds"] == 4.7  # 700 bars at 150 a second
    assert (kind, end["run"]["status"], end["run"]["inserted"]) == ("end", "succeeded", 1000)


async def test_events_end_where_a_job_had_nothing_to_do(client, database, steps):
    body = {"provider": "ecb", "symbols": ["EURUSD"], "intervals": ["1d"], "since": "2024-01-01"}
    await client.post(f"{PREFIX}/subscriptions", json=body)
    job_id = (await client.post(f"{PREFIX}/subscriptions/1/sync")).json()["id"]

    async def ends() -> None:
        await finish(database, job_id)

    steps[:] = [ends]
    assert [kind for kind, _ in await told(client, job_id)] == ["progress", "end"]
    assert_problem(await client.get(f"{PATH}/{job_id}/events"), 404, "job_id")


async def test_events_end_with_the_server(client, app):
    run = await submit(client)
    following = asyncio.create_task(told(client, run["job_id"]))
    async with asyncio.timeout(20):
        while not following.done():
            app.state.stopping.set()
            await asyncio.sleep(0)
    assert [kind for kind, _ in following.result()] == ["progress"]


async def test_rates_are_of_late_and_begin_anew_with_another_run(client, database):
    """A rate looks ten seconds back; counts that fall belong to another run."""
    run = await submit(client)
    seconds = iter([0.0, 5.0, 10.0, 16.0, 17.0, 17.0])
    watcher = Watcher(database, lambda: next(seconds))
    rates = []
    for done in (0, 1000, 1100, 1200, 50, 50):
        async with database.engine.begin() as connection:
            await connection.execute(text("UPDATE ingestion_run SET inserted = :n"), {"n": done})
        rates.append((await watcher.look(run["job_id"])).rate)
    assert rates == [0.0, 200.0, 110.0, pytest.approx(100 / 6), 0.0, 0.0]


async def test_a_picture_of_the_queue(client, database):
    first, second = await submit(client), await submit(client)
    await submit(client, provider="binance")
    await pick(database, second["job_id"])
    await pick(database, first["job_id"])
    watcher = Watcher(database)
    picture = await watcher.look_at_all()
    assert [one.job.job.id for one in picture.jobs] == [first["job_id"], second["job_id"]]
    assert picture.depth == {("fetch", "ecb", "running"): 2, ("fetch", "binance", "queued"): 1}
    await finish(database, first["job_id"])
    assert [one.job.job.id for one in (await watcher.look_at_all()).jobs] == [second["job_id"]]
