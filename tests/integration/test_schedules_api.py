"""Schedules over HTTP."""

from datetime import UTC, datetime

import pytest
from sqlalchemy.exc import IntegrityError

from market_data.core import clock
from market_data.core.exceptions import InvalidInput, ScheduleNotFound
from market_data.services.schedule import ScheduleService
from tests.support.api import PREFIX, assert_problem

PATH = f"{PREFIX}/schedules"
NOW = datetime(2024, 3, 28, 12, 0, tzinfo=UTC)  # a Thursday; the day after is Good Friday


@pytest.fixture(autouse=True)
def at_noon(monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: NOW)


async def create(client, **values) -> dict:
    answer = await client.post(PATH, json=values)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"{PATH}/{answer.json()['id']}"
    return answer.json()


async def test_by_cron(client):
    made = await create(client, name="evening", cron="30 22 * * 1-5", timezone="Europe/Berlin")
    stamps = {name: made[name] for name in ("created_at", "updated_at")}
    assert made == stamps | {
        "id": 1,
        "name": "evening",
        "task": "sync",
        "cron": "30 22 * * 1-5",
        "calendar": None,
        "delay_minutes": 0,
        "timezone": "Europe/Berlin",
        "active": True,
        "due_at": "2024-03-28T21:30:00Z",
        "last_at": None,
    }
    assert (await client.get(f"{PATH}/1")).json() == made


async def test_after_the_sessions_of_an_exchange(client):
    made = await create(client, name="after-new-york", task="repair", calendar="XNYS", delay_minutes=15)
    assert (made["task"], made["due_at"]) == ("repair", "2024-03-28T20:15:00Z")  # closes at 16:00, UTC-4


async def test_a_merge_patch(client):
    await create(client, name="evening", cron="30 22 * * *")

    async def change(**values) -> dict:
        answer = await client.patch(f"{PATH}/1", json=values)
        assert answer.status_code == 200, answer.text
        return answer.json()

    assert (await change(cron="0 6 * * *"))["due_at"] == "2024-03-29T06:00:00Z"
    found = await change(cron=None, calendar="XNYS", name="closes", active=False)
    assert (found["cron"], found["calendar"], found["name"], found["active"]) == (
        None,
        "XNYS",
        "closes",
        False,
    )
    assert found["due_at"] == "2024-03-28T20:00:00Z"
    for wrong in ({"name": None}, {"task": None}, {"timezone": None}, {"active": None}, {"colour": 1}):
        assert_problem(await client.patch(f"{PATH}/1", json=wrong), 422, next(iter(wrong)))
    assert_problem(await client.patch(f"{PATH}/1", json={"calendar": None}), 422, "cron")
    assert_problem(await client.patch(f"{PATH}/9", json={"active": True}), 404, "schedule_id")
    assert (await client.get(f"{PATH}/1")).json() == found


async def test_lists(client):
    await create(client, name="a", cron="0 6 * * *")
    await create(client, name="b", task="retention", cron="0 3 * * *")
    await create(client, name="c", cron="0 7 * * *", active=False)

    async def names(**query) -> list[str]:
        return [one["name"] for one in (await client.get(PATH, params=query)).json()["data"]]

    assert await names() == ["a", "b", "c"]
    assert await names(task="retention") == ["b"]
    assert await names(active=False) == ["c"]
    first = (await client.get(PATH, params={"limit": 2})).json()
    rest = await client.get(PATH, params={"page_token": first["next_page_token"]})
    assert [one["name"] for one in rest.json()["data"]] == ["c"]
    assert rest.json()["next_page_token"] is None


async def test_names_are_unique_and_followers_hold_it(client):
    await create(client, name="a", cron="0 6 * * *")
    await create(client, name="b", cron="0 6 * * *")
    assert_problem(await client.post(PATH, json={"name": "a", "cron": "0 6 * * *"}), 409, "name")
    assert_problem(await client.patch(f"{PATH}/2", json={"name": "a"}), 409, "name")
    body = {"provider": "ecb", "symbols": ["EURUSD"], "intervals": ["1d"], "since": "2024-01-01"}
    await client.post(f"{PREFIX}/subscriptions", json=body | {"schedule": "a"})
    told = assert_problem(await client.delete(f"{PATH}/1"), 409)
    assert "1 subscriptions follow schedule 1" in told["detail"]
    assert_problem(await client.patch(f"{PATH}/1", json={"task": "repair"}), 409)
    assert (await client.patch(f"{PATH}/1", json={"task": "sync"})).status_code == 200
    assert (await client.delete(f"{PATH}/2")).status_code == 204
    assert_problem(await client.delete(f"{PATH}/2"), 404, "schedule_id")
    assert_problem(await client.get(f"{PATH}/2"), 404, "schedule_id")


async def test_rules_hold_for_those_who_call_the_service(database):
    """The API and the command line check these before."""
    service = ScheduleService(database)
    with pytest.raises(InvalidInput, match="Mars"):
        await service.create({"name": "a", "task": "sync", "cron": "0 6 * * *", "timezone": "Mars"})
    with pytest.raises(IntegrityError):
        await service.create({"name": "A B", "task": "sync", "cron": "0 6 * * *"})
    with pytest.raises(ScheduleNotFound):
        await service.get_by_name("a")


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"cron": "0 6 * * *", "name": "A B"}, "name"),
        ({}, "cron"),
        ({"cron": "0 6 * * *", "calendar": "XNYS"}, "cron"),
        ({"cron": "often"}, "cron"),
        ({"cron": "0 0 30 2 *"}, "cron"),
        ({"calendar": "NASDAQQ"}, "calendar"),
        ({"calendar": "XNYS", "delay_minutes": -1}, "delay_minutes"),
        ({"calendar": "XNYS", "delay_minutes": 1441}, "delay_minutes"),
        ({"cron": "0 6 * * *", "timezone": "Mars"}, "timezone"),
        ({"cron": "0 6 * * *", "task": "dance"}, "task"),
    ],
)
async def test_what_is_refused(client, values, field):
    assert_problem(await client.post(PATH, json={"name": "a"} | values), 422, field)
