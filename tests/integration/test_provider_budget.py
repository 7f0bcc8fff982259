"""One pace for all: turns exactly a step apart, quotas never exceeded, holds heeded by everybody."""

import asyncio
import itertools
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from market_data.core.exceptions import ProviderRateLimited
from market_data.etl import registry
from market_data.etl.allowance import Allowance
from market_data.etl.pace import ProcessPace
from market_data.etl.provider import Quota
from market_data.repositories.provider_budget import ProviderBudgetRepository, Rate, Refusal, Turns
from market_data.services.pacing import SharedPace, open_shared
from tests.support.command import clean_environment
from tests.support.turns import EPOCH, MICROSECOND, take

STEP = timedelta(milliseconds=100)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
RATE = Rate(step=STEP, patience=HOUR)
NUMBERS = itertools.count()


async def reserve(database, rate=RATE, count=1, account="vendor"):
    async with database.session() as session:
        return await ProviderBudgetRepository(session).reserve(account, rate, count)


async def hold(database, seconds, account="vendor"):
    async with database.session() as session:
        return await ProviderBudgetRepository(session).hold(account, timedelta(seconds=seconds))


async def find(database, account="vendor"):
    async with database.session() as session:
        return await ProviderBudgetRepository(session).find(account)


async def now(database):
    async with database.session() as session:
        return (await session.execute(text("SELECT clock_timestamp()"))).scalar_one()


async def earlier(database, by):
    """Move everything that is stored into the past, as if time had gone by."""
    async with database.session() as session:
        for statement in (
            "UPDATE provider_budget SET next_at = next_at - CAST(:by AS interval)",
            "UPDATE provider_budget SET blocked_until = blocked_until - CAST(:by AS interval)",
            "UPDATE provider_quota SET started_at = started_at - CAST(:by AS interval)",
        ):
            await session.execute(text(statement), {"by": by})


async def test_turns_are_a_step_apart_and_the_first_is_now(database):
    before = await now(database)
    turns = [await reserve(database) for _ in range(5)]
    assert before <= turns[0].at <= await now(database)
    assert turns[0].wait <= 0
    assert [turn.at - turns[0].at for turn in turns] == [n * STEP for n in range(5)]
    assert [turn.count for turn in turns] == [1] * 5
    assert turns[4].wait == pytest.approx((turns[4].at - await now(database)).total_seconds(), abs=0.4)
    budget = await find(database)
    assert (budget.account, budget.requests, budget.blocked_until) == ("vendor", 5, None)
    assert budget.next_at - turns[0].at == 5 * STEP


async def test_turns_nobody_took_are_not_made_up_for(database):
    await reserve(database)
    await earlier(database, HOUR)
    before = await now(database)
    first, second = await reserve(database), await reserve(database)
    assert first.at >= before
    assert second.at - first.at == STEP


async def test_a_batch_belongs_to_who_reserved_it(database):
    batch = await reserve(database, count=7)
    after = await reserve(database, count=2)
    last = await reserve(database)
    assert (batch.count, after.count) == (7, 2)
    assert after.at - batch.at == 7 * STEP
    assert last.at - after.at == 2 * STEP
    assert (await find(database)).requests == 10


async def test_what_is_too_far_away_is_not_reserved(database):
    rate = Rate(step=timedelta(seconds=50), patience=timedelta(seconds=60))
    first = await reserve(database, rate)
    assert isinstance(await reserve(database, rate), Turns)
    for _ in range(3):
        refused = await reserve(database, rate)
        assert isinstance(refused, Refusal)
        assert refused.spent is None
        assert 90 < refused.wait <= 100
    budget = await find(database)
    assert (budget.requests, budget.next_at - first.at) == (2, timedelta(seconds=100))


async def test_nobody_has_a_turn_before_a_hold_is_over(database):
    before = await now(database)
    await hold(database, 30)
    assert (await hold(database, 10)) >= before + timedelta(seconds=30)
    first, second = await reserve(database), await reserve(database)
    assert first.at >= before + timedelta(seconds=30)
    assert first.wait > 28
    assert second.at - first.at == STEP
    await hold(database, 5000)
    assert (await reserve(database)).wait > 4990
    assert (await find(database)).requests == 2


async def test_accounts_are_apart(database):
    await reserve(database, account="vendor:aaaaaaaaaaaa")
    await hold(database, 30, account="vendor:aaaaaaaaaaaa")
    assert (await reserve(database, account="vendor:bbbbbbbbbbbb")).wait <= 0
    assert await find(database, "vendor") is None
    async with database.session() as session:
        found = await ProviderBudgetRepository(session).list_()
    assert [one.account for one in found] == ["vendor:aaaaaaaaaaaa", "vendor:bbbbbbbbbbbb"]
    assert [one.blocked_until is None for one in found] == [False, True]


async def test_a_quota_is_given_once_and_freed_when_its_period_is_over(database):
    rate = Rate(step=STEP, patience=HOUR, quotas={HOUR: 3, DAY: 5})
    first = await reserve(database, rate)
    assert (await reserve(database, rate, count=10)).count == 2
    refused = await reserve(database, rate)
    assert (refused.spent, 3590 < refused.wait <= 3600) == (HOUR, True)
    budget = await find(database)
    assert [(one.per, one.started_at, one.used) for one in budget.spent] == [
        (HOUR, first.at, 3),
        (DAY, first.at, 3),
    ]
    assert (budget.left(HOUR, 3), budget.left(DAY, 5), budget.left(DAY, 2)) == (0, 2, 0)
    assert (budget.requests, budget.next_at - first.at) == (3, 3 * STEP)

    await earlier(database, HOUR)
    assert (await find(database)).left(HOUR, 3) == 3
    later = await reserve(database, rate)
    assert (await reserve(database, rate)).count == 1
    refused = await reserve(database, rate)
    assert (refused.spent, 82_700 < refused.wait <= 82_800) == (DAY, True)
    hour, day = (await find(database)).spent
    assert (hour.started_at, hour.used, day.used) == (later.at, 2, 5)

    await earlier(database, DAY)
    assert (await reserve(database, rate, count=10)).count == 3
    refused = await reserve(database, rate)
    assert refused.spent == HOUR


async def test_of_two_spent_quotas_the_later_end_counts(database):
    rate = Rate(step=STEP, patience=HOUR, quotas={HOUR: 2, DAY: 2})
    assert (await reserve(database, rate, count=2)).count == 2
    assert (await reserve(database, rate)).spent == DAY


async def test_a_period_is_that_of_the_turn_and_not_of_the_moment_it_is_reserved(database):
    """An hour that ends before the turn comes does not refuse it."""
    rate = Rate(step=STEP, patience=HOUR, quotas={HOUR: 1})
    await reserve(database, rate)
    await earlier(database, timedelta(minutes=50))
    await hold(database, 1200)
    assert 1190 < (await reserve(database, rate)).wait <= 1200
    refused = await reserve(database, rate)
    assert refused.spent == HOUR
    assert 4790 < refused.wait <= 4800


async def test_too_far_away_spends_no_quota(database):
    rate = Rate(step=STEP, patience=timedelta(seconds=60), quotas={DAY: 5})
    await hold(database, 900)
    refused = await reserve(database, rate)
    assert (refused.spent, refused.wait > 890) == (None, True)
    budget = await find(database)
    assert (budget.requests, budget.spent) == (0, ())


async def test_a_turn_given_back_is_not_counted(database):
    rate = Rate(step=STEP, patience=HOUR, quotas={HOUR: 3, DAY: 5})
    first = await reserve(database, rate)
    second = await reserve(database, rate)
    async with database.session() as session:
        budgets = ProviderBudgetRepository(session)
        assert not await budgets.is_held("vendor", second.at)
        await budgets.hold("vendor", timedelta(seconds=30))
        assert await budgets.is_held("vendor", second.at)
        assert not await budgets.is_held("vendor", second.at + timedelta(seconds=40))
        assert not await budgets.is_held("nobody", second.at)
        await budgets.give_back("vendor", second.at)
        await budgets.give_back("vendor", first.at - timedelta(seconds=1))  # of a period before
    budget = await find(database)
    assert [one.used for one in budget.spent] == [1, 1]


def others(database, account, *figures):
    """Start a process that takes turns."""
    program = Path(__file__).parents[1] / "support/turns.py"
    words = [sys.executable, str(program), database.url, account, *map(str, figures)]
    return subprocess.Popen(words, env=clean_environment(), stdout=subprocess.PIPE, text=True)


async def ended(*processes):
    """Return the turns that processes printed."""
    printed = [await asyncio.to_thread(process.communicate, timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return [int(word) for out, _ in printed for word in out.split()]


async def test_tasks_and_processes_share_turns_exactly(database):
    step = 20_000
    rate = Rate(step=step * MICROSECOND, patience=HOUR)
    processes = [others(database, "vendor", step, 8, 10) for _ in range(2)]
    ours = await asyncio.gather(*(take(database, "vendor", rate, 5) for _ in range(8)))
    theirs = await ended(*processes)
    turns = sorted([*itertools.chain(*ours), *theirs])
    assert len(turns) == 8 * 5 + 2 * 8 * 10 == 200
    assert min(later - turn for turn, later in itertools.pairwise(turns)) >= step
    budget = await find(database)
    assert budget.requests == 200
    assert (budget.next_at - EPOCH) // MICROSECOND == turns[-1] + step


async def test_processes_together_do_not_exceed_a_quota(database):
    processes = [others(database, "vendor", 1000, 8, 20, 90) for _ in range(2)]
    turns = sorted(await ended(*processes))
    assert len(turns) == 90
    assert min(later - turn for turn, later in itertools.pairwise(turns)) >= 1000
    budget = await find(database)
    assert (budget.requests, [one.used for one in budget.spent]) == (90, [90])


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.integers(1, 5)),
        st.tuples(st.just("hold"), st.floats(0, 30)),
        st.tuples(st.just("time goes by"), st.floats(0, 20)),
    ),
    max_size=25,
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EVENTS)
async def test_whatever_happens_turns_go_on_a_step_apart_and_outside_of_holds(database, events):
    """Times are told as if `gone` had passed: the rows were moved and not the clock."""
    account = f"vendor{next(NUMBERS)}"
    gone, free_at, holds_over = timedelta(0), None, None
    for event, figure in events:
        if event == "reserve":
            found = await reserve(database, RATE, figure, account)
            at = found.at + gone
            assert found.count == figure
            assert free_at is None or at >= free_at
            assert holds_over is None or at >= holds_over
            free_at = at + figure * STEP
        elif event == "hold":
            over = await now(database) + gone + timedelta(seconds=figure)
            holds_over = over if holds_over is None else max(holds_over, over)
            await hold(database, figure, account)
        else:
            await earlier(database, timedelta(seconds=figure))
            gone += timedelta(seconds=figure)


class Clock:
    """A clock that only sleeping moves, in the process and in the database alike."""

    def __init__(self, database):
        self.database = database
        self.time = 0.0
        self.sleeps = []
        self.meanwhile = None

    def __call__(self):
        return self.time

    async def sleep(self, seconds):
        self.sleeps.append(seconds)
        self.time += seconds
        if self.meanwhile is not None:
            ours, self.meanwhile = self.meanwhile, None
            await ours
        await earlier(self.database, timedelta(seconds=seconds))


def shared(database, requests_per_minute=6, quotas=(), **seams):
    allowance = Allowance(
        provider="vendor", account="vendor", requests_per_minute=requests_per_minute, quotas=quotas
    )
    return SharedPace(database, allowance, **seams)


async def test_a_pace_is_shared_and_waited_for(database):
    clock = Clock(database)
    one, other = (shared(database, sleep=clock.sleep, clock=clock) for _ in range(2))
    await one.turn()
    assert clock.sleeps == []
    await other.turn()
    await one.turn()
    assert clock.sleeps == [pytest.approx(10, abs=1)] * 2


async def test_a_turn_beyond_patience_is_refused_and_not_slept_for(database):
    clock = Clock(database)
    one, other = (shared(database, sleep=clock.sleep, clock=clock) for _ in range(2))
    await one.hold(900)
    with pytest.raises(ProviderRateLimited, match=r"vendor: the next turn to ask is .* s away") as caught:
        await other.turn()
    assert caught.value.retry_after == pytest.approx(900, abs=10)
    assert clock.sleeps == []


async def test_a_spent_quota_is_told_with_the_time_of_its_end(database):
    quotas = (Quota(2, DAY), Quota(9, HOUR), Quota(3, DAY))
    one, other = shared(database, 60_000, quotas), shared(database, 60_000, quotas)
    await one.turn()
    await other.turn()
    with pytest.raises(ProviderRateLimited, match="allowance of 2 requests in 86400 s is spent") as caught:
        await one.turn()
    assert caught.value.retry_after == pytest.approx(86_400, abs=60)


async def test_a_hold_by_another_moves_who_is_waiting_behind_it(database):
    clock = Clock(database)
    quotas = (Quota(9, DAY),)
    one, other = (shared(database, 6, quotas, sleep=clock.sleep, clock=clock) for _ in range(2))
    await one.turn()
    clock.meanwhile = other.hold(30)
    before = await now(database)
    await one.turn()
    assert clock.sleeps == [pytest.approx(10, abs=1), pytest.approx(20, abs=1)]
    budget = await find(database)
    assert (budget.requests, [one.used for one in budget.spent]) == (2, [2])
    assert budget.blocked_until <= before + timedelta(seconds=5)


async def test_those_who_wait_at_the_same_time_share_a_statement(database, monkeypatch):
    asked = []
    reserved = SharedPace._reserved

    async def noting(self, count):
        asked.append(count)
        return await reserved(self, count)

    monkeypatch.setattr(SharedPace, "_reserved", noting)
    pace = shared(database, 60_000)
    await pace.turn()
    assert asked == [1]
    await asyncio.gather(*(pace.turn() for _ in range(120)))
    assert sum(asked) == 121
    assert max(asked) == 50
    assert len(asked) <= 5
    counted = shared(database, 60_000, (Quota(1000, DAY),))
    asked.clear()
    await asyncio.gather(*(counted.turn() for _ in range(5)))
    assert asked == [1] * 5


async def test_a_turn_left_over_is_not_used_later(database):
    clock = Clock(database)
    pace = shared(database, 60_000, sleep=clock.sleep, clock=clock)
    await pace._reserve(3)
    clock.time += 1
    await pace.turn()
    assert list(pace._batch) == []
    assert (await find(database)).requests == 4


async def test_a_client_is_opened_with_the_shared_pace_unless_nobody_counts(database, bare, tmp_path):
    bare.setattr(registry, "project_dir", lambda: tmp_path)
    async with open_shared(database, "ecb") as client:
        assert isinstance(client.http.pace, SharedPace)
        bare.setattr(
            client.http,
            "_client",
            httpx2.AsyncClient(
                transport=httpx2.MockTransport(lambda _: httpx2.Response(418, headers={"retry-after": "500"}))
            ),
        )
        with pytest.raises(ProviderRateLimited):
            await client.http.get("/")
    budget = await find(database, "ecb")
    assert budget.requests == 1
    assert budget.blocked_until > budget.now + timedelta(seconds=490)
    bare.setenv("LEAN_FOLDER", str(tmp_path))
    async with open_shared(database, "lean") as client:
        assert isinstance(client.http.pace, ProcessPace)
