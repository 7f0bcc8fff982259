"""`market-data subscriptions`, `schedules` and `jobs`."""

import asyncio
import json

import pytest
from rich.console import Console
from sqlalchemy import text

from market_data.cli import jobs as module
from market_data.cli import subscriptions, watching
from market_data.core.exceptions import ProviderUnavailable
from market_data.db.session import Database
from market_data.services.sync import SyncService
from tests.support.command import invoke
from tests.support.fake import Fake, drain, finish, page, pick

# The command line calls the same services as the API, whose tests ask every home.
pytestmark = pytest.mark.one_home

ADD = ["subscriptions", "add", "ecb", "EURUSD", "--interval", "1d", "--since", "2024-01-01"]


@pytest.fixture
def on(database):
    """Do something with the database of commands of this process, in a loop of its own."""

    def run(work, *args):
        async def connected():
            own = Database(database.url)
            try:
                return await work(own, *args)
            finally:
                await own.close()

        return asyncio.run(connected())

    return run


async def execute(database, statement: str, **values) -> None:
    async with database.engine.begin() as connection:
        await connection.execute(text(statement), values)


def ids(*args: object) -> list[int]:
    return [one["id"] for one in invoke(*args, "--json").json()]


def test_subscriptions_are_added_listed_edited_removed(here):
    added = invoke("subscriptions", "add", "binance", "BTCUSDT", "ETHUSDT", "--interval", "1m", "--interval",
                   "1Day", "--since", "2024-01-01", "--watchlist", "crypto", "--json").json()  # fmt: skip
    assert [(one["symbol"], one["interval"], one["watchlist"], one["active"]) for one in added] == [
        ("BTCUSDT", "1d", "crypto", True),
        ("BTCUSDT", "1m", "crypto", True),
        ("ETHUSDT", "1d", "crypto", True),
        ("ETHUSDT", "1m", "crypto", True),
    ]
    shown = invoke(*ADD, "--exchange", "FX", "--inactive")
    assert (shown.code, "EURUSD" in shown.out, "2024-01-01T00:00:00Z" in shown.out) == (0, True, True)
    assert "BTCUSDT" in invoke("subscriptions").out
    assert ids("subscriptions", "--watchlist", "crypto", "--interval", "1min") == [2, 4]
    assert ids("subscriptions", "list", "--provider", "ecb", "--inactive") == [5]
    assert ids("subscriptions", "--failing") == []
    assert invoke("schedules", "add", "evening", "--cron", "30 22 * * *").code == 0
    edited = invoke("subscriptions", "edit", "5", "--active", "--schedule", "evening", "--since",
                    "2023-01-01", "--json").json()  # fmt: skip
    assert (edited["active"], edited["schedule"], edited["since"]) == (
        True,
        "evening",
        "2023-01-01T00:00:00Z",
    )
    assert "schedule    -" in invoke("subscriptions", "edit", "5", "--schedule", "none").out
    assert invoke("subscriptions", "remove", "1", "2").out == "removed: 1, 2\n"
    assert invoke("subscriptions", "remove", "3", "--json").json() == {"removed": [3]}
    assert ids("subscriptions") == [4, 5]


def test_wrong_subscriptions(here):
    for wrong, told in (
        (["subscriptions", "add", "nobody", "X", "--interval", "1d", "--since", "2024-01-01"], "nobody"),
        ([*ADD[:-1], "yesterday"], "since: "),
        ([*ADD, "--interval", "1m"], "has no 1m bars"),
        ([*ADD, "--schedule", "none-such"], "no schedule none-such"),
        ([*ADD, "--watchlist", "My List"], "watchlist: "),
        (["subscriptions", "edit", "1"], "nothing to change"),
        (["subscriptions", "edit", "1", "--active"], "no subscription 1"),
        (["subscriptions", "remove", "1"], "no subscription 1"),
        (["subscriptions", "sync", "1"], "no subscription 1"),
        (["subscriptions", "sync", "1", "--here"], "no subscription 1"),
        (["subscriptions", "--interval", "1M"], "interval: "),
    ):
        outcome = invoke(*wrong)
        assert (outcome.code, told in outcome.complaint) == (2, True), outcome


def test_schedules_are_added_listed_edited_removed(here):
    added = invoke("schedules", "add", "evening", "--cron", "30 22 * * 1-5", "--timezone", "Europe/Berlin")
    assert (added.code, "30 22 * * 1-5" in added.out) == (0, True)
    after = invoke("schedules", "add", "closes", "--calendar", "XNYS", "--delay-minutes", "15", "--task",
                   "repair", "--inactive", "--json").json()  # fmt: skip
    shown = {name: after[name] for name in ("id", "task", "calendar", "delay_minutes", "active", "cron")}
    assert shown == {
        "id": 2, "task": "repair", "calendar": "XNYS", "delay_minutes": 15, "active": False, "cron": None
    }  # fmt: skip
    assert [one["name"] for one in invoke("schedules", "--json").json()] == ["evening", "closes"]
    assert [one["name"] for one in invoke("schedules", "list", "--task", "repair", "--json").json()] == [
        "closes"
    ]
    assert "Europe/Berlin" in invoke("schedules").out
    edited = invoke("schedules", "edit", "closes", "--cron", "0 6 * * *", "--active", "--json").json()
    assert (edited["cron"], edited["calendar"], edited["active"]) == ("0 6 * * *", None, True)
    assert "name           tidy" in invoke("schedules", "edit", "closes", "--name", "tidy").out
    again = invoke("schedules", "add", "tidy", "--cron", "0 6 * * *")
    assert (again.code, again.complaint) == (1, "error: a schedule named 'tidy' exists already")
    assert invoke("schedules", "remove", "tidy").out == "removed: tidy\n"
    assert invoke("schedules", "remove", "evening", "--json").json() == {"removed": "evening"}
    for wrong in (
        ["remove", "evening"],
        ["edit", "evening", "--active"],
        ["edit", "evening"],
        ["add", "a"],
        ["add", "a", "--cron", "often"],
        ["add", "a", "--calendar", "NOPE"],
    ):
        assert invoke("schedules", *wrong).code == 2, wrong


def test_a_sync_goes_through_the_queue(here, on):
    assert invoke(*ADD).code == 0
    outcome = invoke("subscriptions", "sync", "1")
    (job_id,) = ids("jobs")
    assert outcome.out == f"job {job_id} is queued; follow it: market-data jobs watch {job_id}\n"
    assert ids("subscriptions", "sync", "1") == [job_id]
    assert "subscription_id=1" in invoke("jobs").out
    shown = invoke("jobs", "show", job_id)
    assert (shown.code, "ecb" in shown.out, "queued" in shown.out) == (0, True, True)
    fake = Fake()
    fake.answers["EURUSD"] = [page({"2024-01-02": 1.1})]
    on(drain, fake.open)
    assert ids("jobs") == []
    assert invoke("jobs", "show", job_id).code == 2
    ended = invoke("jobs", "watch", job_id)
    assert (ended.code, ended.out) == (
        0,
        "run 1 succeeded: 1 inserted, 0 updated, 0 unchanged, 0 unfinished, 0 rejected\n",
    )
    assert json.loads(invoke("jobs", "watch", job_id, "--json").out)["run"]["inserted"] == 1


def test_a_sync_here(here):
    assert invoke(*ADD).code == 0
    fake = Fake()
    fake.answers["EURUSD"] = [page({"2024-01-02": 1.1})]
    here.setattr(
        subscriptions, "SyncService", lambda database, alive: SyncService(database, alive, fake.open)
    )
    (found,) = invoke("subscriptions", "sync", "1", "--here", "--json").json()
    assert (found["series_id"], found["failures"]) == (1, 0)
    assert ids("jobs") == []
    fake.answers["EURUSD"] = [ProviderUnavailable("ecb", "no answer")]
    assert invoke("subscriptions", "edit", "1", "--since", "2023-01-01").code == 0
    outcome = invoke("subscriptions", "sync", "1", "--here")
    assert (outcome.code, outcome.complaint) == (1, "error: ecb: no answer")


def test_jobs_that_failed_are_shown_tried_again_and_cancelled(here, on):
    assert invoke(*ADD).code == 0
    assert invoke("subscriptions", "sync", "1").code == 0
    fake = Fake()
    fake.answers["EURUSD"] = [ProviderUnavailable("ecb", "no answer")]
    on(drain, fake.open)
    (job,) = invoke(
        "jobs", "list", "--status", "failed", "--kind", "sync", "--provider", "ecb", "--json"
    ).json()
    shown = invoke("jobs")
    assert ("EURUSD 1d" in shown.out, "ecb: no answer" in shown.out) == (True, True)
    assert "run error       ecb: no answer" in invoke("jobs", "show", job["id"]).out
    assert invoke("jobs", "show", job["id"], "--json").json()["run"]["status"] == "failed"
    watched = invoke("jobs", "watch", job["id"])
    assert (watched.code, "run 1 failed" in watched.out) == (1, True)
    assert invoke("jobs", "retry", job["id"]).out == f"job {job['id']} is queued\n"
    assert invoke("jobs", "retry", job["id"], "--json").json()["status"] == "queued"
    assert invoke("jobs", "cancel", job["id"]).out == f"job {job['id']} is cancelled\n"
    for words in (["cancel"], ["retry"], ["show"]):
        assert invoke("jobs", *words, job["id"]).code == 2
    watched = invoke("jobs", "watch", job["id"])
    assert (watched.code, "run 1 failed" in watched.out, "ecb: no answer" in watched.out) == (1, True, True)
    assert invoke("jobs", "watch", 999).code == 2
    assert invoke("subscriptions", "sync", "1").code == 0
    (job,) = invoke("jobs", "--json").json()
    assert invoke("jobs", "cancel", job["id"], "--json").json() == {"cancelled": job["id"]}


@pytest.fixture
def working(here, on):
    """A job of ecb under way, 250 of 1000 bars done, and one that waits."""
    assert invoke(*ADD).code == 0
    assert invoke("subscriptions", "sync", "1").code == 0
    fake = Fake()
    fake.answers["EURUSD"] = [ProviderUnavailable("ecb", "no answer")]
    on(drain, fake.open)
    (job_id,) = ids("jobs")
    on(pick, job_id)
    on(
        execute,
        "UPDATE ingestion_run SET inserted = 200, unchanged = 50, expected = 1000, status = 'running'",
    )
    invoke("subscriptions", "add", "binance", "BTCUSDT", "--interval", "1m", "--since", "2024-01-01")
    assert invoke("subscriptions", "sync", "2").code == 0
    return job_id


QUEUE = "queue: 1 queued (sync binance), 1 running (sync ecb)\n"


def test_one_picture_as_lines(working, on):
    line = f"job {working}: EURUSD 1d ecb: 250/1000, 0 bars/s, left -, "
    assert invoke("jobs", "watch", "--once").out == f"{line}free\n{QUEUE}"
    on(
        execute,
        "INSERT INTO provider_budget (account, next_at, blocked_until) "
        "VALUES ('ecb', '2999-01-01T00:00:00Z', '2999-01-01T00:01:02Z')",
    )
    assert invoke("jobs", "watch", "--once").out == f"{line}blocked until 00:01:02Z\n{QUEUE}"
    assert invoke("jobs", "watch", working, "--once").out == f"{line}blocked until 00:01:02Z\n"
    on(execute, "UPDATE provider_budget SET blocked_until = '2000-01-01'")
    assert f"{line}in " in invoke("jobs", "watch", "--once").out
    picture = json.loads(invoke("jobs", "watch", "--once", "--json").out)
    assert [(one["id"], one["progress"]["done"]) for one in picture["jobs"]] == [(working, 250)]
    assert {"kind": "sync", "provider": "binance", "status": "queued", "count": 1} in picture["queue"]
    on(finish, working)
    on(finish, working + 1)
    assert invoke("jobs", "watch", "--once").out == "the queue is empty\n"


def test_a_job_without_a_run_is_called_by_what_it_is_for(working, on):
    on(execute, "DELETE FROM ingestion_run")
    assert (
        f"job {working}: subscription 1 - ecb: 0/?, 0 bars/s, left -, free"
        in invoke("jobs", "watch", "--once").out
    )


def test_one_picture_on_a_terminal(working, here):
    here.setattr(watching, "people", lambda: Console(force_terminal=True, width=120, color_system=None))
    drawn = invoke("jobs", "watch", "--once").out
    for part in ("EURUSD", "1d", "250/1000", "━", "queue: 1 queued (sync binance), 1 running (sync ecb)"):
        assert part in drawn, drawn


class _Steps:
    """Instead of a pause something happens; when nothing is left, Ctrl-C."""

    def __init__(self, on_each: list) -> None:
        self.planned = on_each

    async def __call__(self, _: float) -> None:
        if not self.planned:
            raise KeyboardInterrupt
        await self.planned.pop(0)()


def test_watching_goes_on_until_it_is_stopped(working, here, database):
    own = []

    async def further() -> None:
        own.append(Database(database.url))
        await execute(own[0], "UPDATE ingestion_run SET inserted = 700")
        await own[0].close()

    moments = iter([0.0, 5.0])
    here.setattr(module, "Watcher", lambda database: watching.Watcher(database, lambda: next(moments)))
    here.setattr(watching.asyncio, "sleep", _Steps([further]))
    outcome = invoke("jobs", "watch")
    assert outcome.out == (
        f"job {working}: EURUSD 1d ecb: 250/1000, 0 bars/s, left -, free\n{QUEUE}"
        f"job {working}: EURUSD 1d ecb: 750/1000, 100 bars/s, left 0:00:02, free\n{QUEUE}"
    )
    assert outcome.code == 130


def test_watching_one_job_ends_with_it(working, here, database):
    async def ends() -> None:
        own = Database(database.url)
        await execute(own, "UPDATE ingestion_run SET status = 'partial', rejected = 1")
        await finish(own, working)
        await own.close()

    here.setattr(watching.asyncio, "sleep", _Steps([ends]))
    terminal = Console(force_terminal=True, width=120, color_system=None, _environ={"TERM": "xterm"})
    here.setattr(watching, "people", lambda: terminal)
    outcome = invoke("jobs", "watch", working)
    assert outcome.code == 1
    assert "250/1000" in outcome.out
    assert "run 1 partial: 200 inserted, 0 updated, 50 unchanged, 0 unfinished, 1 rejected" in outcome.out


def test_a_job_that_had_nothing_to_do_ends_without_a_run(working, here, database):
    async def ends() -> None:
        own = Database(database.url)
        await execute(own, "DELETE FROM ingestion_run")
        await finish(own, working)
        await own.close()

    here.setattr(watching.asyncio, "sleep", _Steps([ends]))
    outcome = invoke("jobs", "watch", working, "--json")
    first, last = map(json.loads, outcome.out.splitlines())
    assert (outcome.code, first["jobs"][0]["id"], last) == (0, working, {"job_id": working, "run": None})
