"""Holes cut into stored series are named, and filled, exactly."""

import random
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from sqlalchemy import text

from market_data.core import clock
from market_data.core.exceptions import InvalidInput, ProviderNotFound, ProviderUnavailable, SeriesNotFound
from market_data.core.interval import Interval
from market_data.core.vocabulary import CoverageState, RunStatus
from market_data.db.liveness import Liveness
from market_data.etl import registry
from market_data.repositories.ingestion_run import IngestionRunRepository, RunFilter
from market_data.repositories.job import JobRepository
from market_data.services.coverage import CoverageService, Stretch
from market_data.services.ingestion import IngestionService, IngestRequest
from market_data.services.repair import RepairService
from market_data.services.schedule import ScheduleService
from market_data.services.scheduler import Scheduler, repair_job
from market_data.services.subscription import SubscriptionRequest, SubscriptionService
from tests.support.exchange import Exchange, ExchangeClient, clients_of, starts
from tests.support.work import drain

pytestmark = pytest.mark.one_home

JANUARY = datetime(2024, 1, 1, tzinfo=UTC)
NOW = datetime(2024, 4, 2, 3, tzinfo=UTC)
INTERVALS = (Interval.M30, Interval.H1, Interval.D1)


@pytest.fixture
def exchange(monkeypatch) -> Exchange:
    """The exchange after its first quarter of 2024, Good Friday and the change of clocks included."""
    made = Exchange(NOW)
    monkeypatch.setattr(clock, "now", lambda: made.now)
    known = registry.providers()
    monkeypatch.setattr(registry, "providers", lambda: known | {"bell": ExchangeClient})
    monkeypatch.setattr("market_data.services.worker.providers", lambda: {"bell": ExchangeClient})
    return made


async def kept(database, exchange, interval) -> int:
    """Return the series of a subscription that is up to date."""
    request = SubscriptionRequest(provider="bell", symbols=["ACME"], intervals=[interval], since=JANUARY)
    await SubscriptionService(database).subscribe(request)
    await Scheduler(database).tick()
    assert await drain(database, clients_of(exchange)) == ["done"]
    return 1


def finished(exchange, interval) -> list[datetime]:
    """Starts of the bars that are over."""
    begun = starts(interval, exchange.now)
    return [ts for ts in begun if ts not in exchange.absent]


async def cut(database, interval, holes: set[datetime]) -> None:
    """Take bars out behind the program's back."""
    async with database.session() as session:
        for table in ("market_price_intraday", "market_price_daily"):
            await session.execute(
                text(f"DELETE FROM {table} WHERE ts = ANY(CAST(:holes AS timestamptz[]))"),
                {"holes": list(holes)},
            )
        await session.execute(text("UPDATE series SET bar_count = bar_count - :gone"), {"gone": len(holes)})


def inside(gaps: list[Stretch], begun: list[datetime]) -> set[datetime]:
    """Return which of the bars there should be lie in gaps."""
    return {ts for ts in begun if any(gap.start <= ts < gap.end for gap in gaps)}


async def stored(database) -> dict[datetime, float]:
    async with database.session() as session:
        rows = await session.execute(text("SELECT ts, close FROM v_price ORDER BY ts"))
        return {row.ts: row.close for row in rows}


@pytest.mark.parametrize("interval", INTERVALS)
async def test_what_is_complete_has_no_gaps(database, exchange, interval):
    """Neither on holidays, nor on nights, weekends, and the hour between the clocks of two countries."""
    series = await kept(database, exchange, interval)
    found = await CoverageService(database).of(series)
    assert found.gaps == []
    assert found.calendar.name == "XNYS"
    assert found.count(CoverageState.PRESENT) == len(finished(exchange, interval))
    (present, *rest) = found.stretches
    assert present.state is CoverageState.PRESENT
    assert {one.state for one in rest} <= {CoverageState.NOT_YET}


@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize("seed", range(4))
async def test_gaps_are_the_holes_and_repair_fills_them(database, exchange, interval, seed):
    dice = random.Random(seed)  # noqa: S311 # holes are no secret
    begun = starts(interval, exchange.now)
    exchange.absent = set(dice.sample(begun[1:-1], 5))
    series = await kept(database, exchange, interval)
    whole = await stored(database)
    here = finished(exchange, interval)
    first = dice.randrange(1, len(here) - 20)
    holes = {*dice.sample(here[1:-1], 12), *here[first : first + dice.randrange(1, 15)]}
    await cut(database, interval, holes)

    service = CoverageService(database)
    gaps = (await service.of(series)).gaps
    assert inside(gaps, begun) == holes
    assert {gap.state for gap in gaps} == {CoverageState.MISSING}
    assert sum(gap.bars for gap in gaps) == len(holes)

    liveness = Liveness(database)
    run = await RepairService(database, liveness, clients_of(exchange)).work(series)
    await liveness.close()
    assert (run.status, run.inserted, run.updated) == (RunStatus.SUCCEEDED, len(holes), 0)
    assert await stored(database) == whole
    after = await service.of(series)
    assert after.gaps == []
    quiet = [one for one in after.stretches if one.state is CoverageState.NO_TRADE]
    assert inside(quiet, begun) == exchange.absent


async def test_a_hole_at_either_end_is_a_gap(database, exchange):
    series = await kept(database, exchange, Interval.D1)
    ends = {JANUARY + timedelta(days=1), datetime(2024, 4, 1, tzinfo=UTC)}
    await cut(database, Interval.D1, ends)
    gaps = (await CoverageService(database).of(series)).gaps
    assert {gap.start for gap in gaps} == ends


async def test_the_window_can_be_narrowed(database, exchange):
    series = await kept(database, exchange, Interval.D1)
    await cut(database, Interval.D1, {datetime(2024, 1, 9, tzinfo=UTC), datetime(2024, 2, 8, tzinfo=UTC)})
    service = CoverageService(database)
    found = await service.of(series, datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC))
    assert [gap.start for gap in found.gaps] == [datetime(2024, 2, 8, tzinfo=UTC)]
    assert found.count(CoverageState.PRESENT) == 19  # of 20 sessions in February
    nothing = await service.of(series, datetime(2030, 1, 1, tzinfo=UTC), datetime(2030, 2, 1, tzinfo=UTC))
    assert nothing.stretches == ()


async def test_the_bar_to_come_is_not_yet(database, exchange):
    exchange.now = datetime(2024, 4, 2, 16, tzinfo=UTC)
    series = await kept(database, exchange, Interval.H1)
    last = (await CoverageService(database).of(series)).stretches[-1]
    assert (last.state, last.end) == (CoverageState.NOT_YET, exchange.now)


async def test_a_confirmed_outage_is_no_gap(database, exchange):
    """A day the calendar expects, and the provider says there was none."""
    exchange.absent = {datetime(2024, 2, 6, tzinfo=UTC)}
    series = await kept(database, exchange, Interval.D1)
    found = await CoverageService(database).of(series)
    assert found.gaps == []
    (quiet,) = [one for one in found.stretches if one.state is CoverageState.NO_TRADE]
    assert (quiet.start, quiet.end, quiet.bars) == (
        datetime(2024, 2, 6, tzinfo=UTC),
        datetime(2024, 2, 7, tzinfo=UTC),
        1,
    )


async def test_what_failed_is_a_gap_until_it_is_repaired(database, exchange):
    series = await kept(database, exchange, Interval.D1)
    async with database.session() as session:
        await session.execute(
            text("UPDATE coverage SET end_ts = '2024-02-01Z' WHERE state = 'answered'"),
        )
        await session.execute(
            text("INSERT INTO coverage VALUES (1, 'failed', '2024-02-01Z', '2024-04-02Z', now())"),
        )
        await session.execute(text("DELETE FROM market_price_daily WHERE ts >= '2024-02-01Z'"))
    found = await CoverageService(database).of(series)
    assert {gap.state for gap in found.gaps} == {CoverageState.FAILED}
    assert sum(gap.bars for gap in found.gaps) == 20 + 20 + 1
    async with database.session() as session:
        await JobRepository(session).enqueue([repair_job(series, "bell")])
    assert await drain(database, clients_of(exchange)) == ["done"]
    assert (await CoverageService(database).of(series)).gaps == []


async def test_every_night_what_is_missing_is_asked_for(database, exchange):
    await ScheduleService(database).create({"name": "nightly", "task": "repair", "cron": "17 3 * * *"})
    series = await kept(database, exchange, Interval.D1)
    await cut(database, Interval.D1, {datetime(2024, 2, 8, tzinfo=UTC)})
    exchange.now = datetime(2024, 4, 2, 3, 17, tzinfo=UTC)
    await Scheduler(database).tick()
    assert await drain(database, clients_of(exchange)) == ["done"]
    assert datetime(2024, 2, 8, tzinfo=UTC) in await stored(database)
    asked = len(exchange.asked)
    exchange.now += timedelta(days=1)
    await Scheduler(database).tick()
    await drain(database, clients_of(exchange))
    days = [one for one in exchange.asked[asked:] if one.end is not None and one.end <= NOW]
    assert days == []
    assert (await CoverageService(database).of(series)).gaps == []


async def test_a_repair_that_fails_is_tried_again(database, exchange):
    series = await kept(database, exchange, Interval.D1)
    await cut(database, Interval.D1, {datetime(2024, 2, 8, tzinfo=UTC)})
    exchange.trouble = [ProviderUnavailable("bell", "is asleep")]
    async with database.session() as session:
        await JobRepository(session).enqueue([repair_job(series, "bell")])
    assert await drain(database, clients_of(exchange)) == ["again"]
    async with database.session() as session:
        newest = (await IngestionRunRepository(session).list_(RunFilter(), limit=1))[0]
    assert (newest.status, newest.error) == (RunStatus.FAILED, "bell: is asleep")


@pytest.fixture
async def imported(database, exchange) -> int:
    """A series of bars nobody asked a provider for."""
    liveness = Liveness(database)
    request = IngestRequest(provider="bell", symbols=("ACME",))
    await IngestionService(database, liveness, clients_of(exchange)).ingest(request)
    await liveness.close()
    async with database.session() as session:
        await session.execute(text("UPDATE series SET source = 'file'"))
        await session.execute(text("DELETE FROM coverage"))
    return 1


async def test_where_nobody_was_asked_the_calendar_tells(database, exchange, imported):
    """Good Friday and Presidents' Day are no gaps; a Thursday is."""
    await cut(database, Interval.D1, {datetime(2024, 2, 8, tzinfo=UTC), datetime(2024, 3, 28, tzinfo=UTC)})
    found = await CoverageService(database).of(imported)
    assert [(gap.start, gap.end) for gap in found.gaps] == [
        (datetime(2024, 2, 8, tzinfo=UTC), datetime(2024, 2, 9, tzinfo=UTC)),
        (datetime(2024, 3, 28, tzinfo=UTC), datetime(2024, 3, 29, tzinfo=UTC)),
    ]
    states = [one.state for one in found.stretches]
    assert all(a is not b for a, b in pairwise(states))
    assert CoverageState.NOT_YET not in states


async def test_another_provider_can_be_asked_and_sources_are_not_mixed(database, exchange, imported):
    await cut(database, Interval.D1, {datetime(2024, 2, 8, tzinfo=UTC)})
    liveness = Liveness(database)
    repair = RepairService(database, liveness, clients_of(exchange))
    with pytest.raises(InvalidInput, match="came from no provider"):
        await repair.work(imported)
    run = await repair.from_elsewhere(imported, "bell")
    assert run.status == RunStatus.QUEUED
    assert await drain(database, clients_of(exchange)) == ["done"]
    async with database.session() as session:
        rows = await session.execute(text("SELECT source, min(ts), count(*) FROM v_price GROUP BY source"))
        found = {row[0]: (row[1].date(), row[2]) for row in rows}
    assert found == {"file": (date(2024, 1, 2), 60), "bell": (date(2024, 2, 8), 1)}
    await liveness.close()


async def test_a_repair_that_makes_no_sense_is_refused(database, exchange, imported):
    liveness = Liveness(database)
    repair = RepairService(database, liveness, clients_of(exchange))
    with pytest.raises(SeriesNotFound):
        await repair.work(99)
    with pytest.raises(ProviderNotFound):
        await repair.from_elsewhere(imported, "nobody")
    with pytest.raises(InvalidInput, match="nobody knows what stooq calls XNYS:ACME"):
        await repair.from_elsewhere(imported, "stooq")
    assert await repair.from_elsewhere(imported, "bell") is None  # there is no gap
    await liveness.close()
