"""A year of a subscription and its schedules, by a clock that the test moves."""

from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import text

from market_data.core import clock
from market_data.core.exceptions import (
    InvalidInput,
    MalformedAnswer,
    ProviderAuthError,
    ProviderRateLimited,
    ProviderUnavailable,
    SymbolNotFound,
)
from market_data.core.interval import Interval
from market_data.core.spans import Span
from market_data.core.trading import Override
from market_data.core.vocabulary import RunStatus
from market_data.db.liveness import Liveness
from market_data.etl import registry
from market_data.repositories.calendar_override import CalendarOverrideRepository
from market_data.repositories.coverage import Answer, CoverageRepository
from market_data.repositories.ingestion_run import IngestionRunRepository, RunFilter
from market_data.services.ingestion import IngestionService, IngestRequest
from market_data.services.schedule import ScheduleService
from market_data.services.scheduler import Scheduler, next_of_cron
from market_data.services.subscription import SubscriptionRequest, SubscriptionService
from market_data.services.sync import SyncService
from tests.support.exchange import DAYS, HALF_DAYS, Exchange, ExchangeClient, clients_of, closes
from tests.support.work import Hands, drain

pytestmark = pytest.mark.one_home

JANUARY = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def exchange(monkeypatch) -> Exchange:
    """The exchange on the second Wednesday of 2024; its clock is everybody's."""
    made = Exchange(datetime(2024, 1, 10, 18, tzinfo=UTC))
    monkeypatch.setattr(clock, "now", lambda: made.now)
    known = registry.providers()
    monkeypatch.setattr(registry, "providers", lambda: known | {"bell": ExchangeClient})
    monkeypatch.setattr("market_data.services.worker.providers", lambda: {"bell": ExchangeClient})
    return made


async def subscribe(database, interval=Interval.D1, **more) -> int:
    request = SubscriptionRequest(
        provider="bell", symbols=["ACME"], intervals=[interval], since=JANUARY, **more
    )
    (found,) = await SubscriptionService(database).subscribe(request)
    return found.subscription.id


async def work(database, exchange, hands: Hands | None = None) -> list[str]:
    """Look what is due at this moment, and do it."""
    await Scheduler(database).tick()
    return await (hands.drain() if hands else drain(database, clients_of(exchange)))


async def stored(database) -> dict[datetime, float]:
    async with database.session() as session:
        rows = await session.execute(text("SELECT ts, close FROM v_price ORDER BY ts"))
        return {row.ts: row.close for row in rows}


async def due(database) -> datetime:
    async with database.session() as session:
        query = "SELECT least((SELECT min(due_at) FROM subscription), (SELECT min(due_at) FROM schedule))"
        return await session.scalar(text(query))


async def runs(database) -> list:
    async with database.session() as session:
        return await IngestionRunRepository(session).list_(RunFilter(), limit=1000)


def days(first: date, last: date) -> dict[datetime, float]:
    """Daily bars as the exchange numbers them."""
    return {
        datetime(day.year, day.month, day.day, tzinfo=UTC): float(number)
        for number, day in enumerate(DAYS, 1)
        if first <= day <= last
    }


async def test_it_stores_what_is_final_and_nothing_that_is_not(database, exchange):
    await subscribe(database)
    assert await work(database, exchange) == ["done"]
    assert await stored(database) == days(date(2024, 1, 2), date(2024, 1, 9))
    exchange.now = closes(date(2024, 1, 10)) + timedelta(minutes=4)
    assert await work(database, exchange) == []
    exchange.now += timedelta(minutes=1)
    assert await work(database, exchange) == ["done"]
    assert await stored(database) == days(date(2024, 1, 2), date(2024, 1, 10))


async def test_nothing_is_asked_while_nothing_can_be_new(database, exchange):
    await subscribe(database)
    await work(database, exchange)
    asked = len(exchange.asked)
    for _ in range(3):
        assert await work(database, exchange) == []
    assert len(exchange.asked) == asked
    assert await due(database) == closes(date(2024, 1, 10)) + timedelta(minutes=5)


async def test_a_year_of_days_each_exactly_once(database, exchange):
    """Half days, holidays, both changes of the clock, and three days when nobody was at work."""
    exchange.now = datetime(2024, 1, 1, 12, tzinfo=UTC)
    outage = datetime(2024, 8, 6, tzinfo=UTC), datetime(2024, 8, 9, tzinfo=UTC)
    subscription = await subscribe(database)
    when: list[datetime] = []
    async with Hands(database, clients_of(exchange)) as hands:
        while exchange.now < datetime(2025, 1, 1, tzinfo=UTC):
            if await work(database, exchange, hands):
                when.append(exchange.now)
            later = await due(database)
            assert later > exchange.now
            exchange.now = outage[1] if outage[0] <= later < outage[1] else later
    assert await stored(database) == days(date(2024, 1, 2), date(2024, 12, 31))
    missed = {date(2024, 8, day) for day in (6, 7, 8)}
    expected = [closes(day) + timedelta(minutes=5) for day in DAYS if day not in missed]
    # It looked as it was added, at midnight because nobody had told yet where the share is listed, and on
    # 9 August as soon as it could again.
    others = [datetime(2024, 1, 1, 12, tzinfo=UTC), datetime(2024, 1, 2, 0, 5, tzinfo=UTC), outage[1]]
    assert sorted(when) == sorted([*expected, *others])
    found = await runs(database)
    assert sum(run.inserted for run in found) == 252 == len(DAYS)
    assert sum(run.updated for run in found) == 0
    assert {run.subscription_id for run in found} == {subscription}
    ends = {closes(day).hour for day in HALF_DAYS}
    assert ends == {17, 18}


async def test_hours_follow_the_session_over_the_change_of_clocks(database, exchange):
    """In March the session moves by an hour in UTC; bars are counted from its open."""
    exchange.now = datetime(2024, 3, 8, 12, tzinfo=UTC)
    await subscribe(database, Interval.H1)
    while exchange.now < datetime(2024, 3, 13, tzinfo=UTC):
        await work(database, exchange)
        exchange.now = await due(database)
    found = [ts for ts in await stored(database) if ts >= datetime(2024, 3, 8, tzinfo=UTC)]
    assert [ts.isoformat()[5:16] for ts in found if ts.day in {8, 11}] == [
        *(f"03-08T{hour}:30" for hour in range(14, 21)),
        *(f"03-11T{hour}:30" for hour in range(13, 20)),
    ]


async def test_corrections_within_the_overlap_are_seen(database, exchange):
    await subscribe(database)
    await work(database, exchange)
    exchange.corrected = {datetime(2024, 1, 8, tzinfo=UTC), datetime(2024, 1, 3, tzinfo=UTC)}
    exchange.now = closes(date(2024, 1, 10)) + timedelta(minutes=5)
    await work(database, exchange)
    found = await stored(database)
    assert found[datetime(2024, 1, 8, tzinfo=UTC)] == 1000 + 5
    assert found[datetime(2024, 1, 3, tzinfo=UTC)] == 2


async def test_the_days_of_a_subscription_are_one_run_a_day(database, exchange):
    exchange.now = datetime(2024, 1, 10, 14, tzinfo=UTC)
    await subscribe(database, Interval.M30)
    while exchange.now < datetime(2024, 1, 12, tzinfo=UTC):
        await work(database, exchange)
        exchange.now = await due(database)
    second, first = await runs(database)
    assert (first.created_at < second.created_at, first.status, second.status) == (
        True,
        RunStatus.SUCCEEDED,
        RunStatus.SUCCEEDED,
    )
    assert first.inserted + second.inserted == len(await stored(database)) == 8 * 13


async def test_what_a_provider_does_not_have_is_asked_once(database, exchange):
    exchange.absent = {datetime(2024, 1, 4, tzinfo=UTC)}
    await subscribe(database)
    await work(database, exchange)
    asked = len(exchange.asked)
    async with database.session() as session:
        found = await CoverageRepository(session).spans(
            1, Answer.NO_TRADE, JANUARY, datetime(2024, 1, 9, tzinfo=UTC)
        )
    assert found == [
        Span(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)),
        Span(datetime(2024, 1, 4, tzinfo=UTC), datetime(2024, 1, 5, tzinfo=UTC)),
        Span(datetime(2024, 1, 6, tzinfo=UTC), datetime(2024, 1, 8, tzinfo=UTC)),
    ]
    await SubscriptionService(database).sync(1)
    assert await work(database, exchange) == ["done"]
    assert len(exchange.asked) == asked


async def test_what_was_ingested_before_is_not_asked_again(database, exchange):
    liveness = Liveness(database)
    request = IngestRequest(provider="bell", symbols=("ACME",), end=datetime(2024, 1, 9, tzinfo=UTC))
    await IngestionService(database, liveness, clients_of(exchange)).ingest(request)
    await liveness.close()
    await SubscriptionService(database).subscribe(
        SubscriptionRequest(
            provider="bell",
            symbols=["ACME"],
            intervals=[Interval.D1],
            since=datetime(2024, 1, 2, tzinfo=UTC),
        )
    )
    asked = len(exchange.asked)
    assert await work(database, exchange) == ["done"]
    (one,) = exchange.asked[asked:]
    assert (one.start, one.end) == (
        datetime(2024, 1, 6, tzinfo=UTC),  # three days back: the overlap
        datetime(2024, 1, 10, tzinfo=UTC),
    )
    assert await stored(database) == days(date(2024, 1, 2), date(2024, 1, 9))


async def test_pages_are_stored_some_at_a_time(database, exchange, monkeypatch):
    monkeypatch.setattr("market_data.services.fetching.BATCH_ROWS", 3)
    exchange.page = 2
    await subscribe(database)
    await work(database, exchange)
    assert await stored(database) == days(date(2024, 1, 2), date(2024, 1, 9))
    (run,) = await runs(database)
    assert (run.inserted, run.expected) == (6, 6)


async def test_who_makes_one_wait_has_each_page_stored(database, exchange, monkeypatch):
    monkeypatch.setattr("market_data.services.fetching.LULL", 0.001)
    exchange.page, exchange.rest = 2, 0.1
    await subscribe(database)
    await work(database, exchange)
    assert await stored(database) == days(date(2024, 1, 2), date(2024, 1, 9))
    async with database.session() as session:
        written = await session.scalar(text("SELECT count(DISTINCT xmin::text) FROM market_price_daily"))
    assert written == 3


async def test_a_bar_its_source_calls_unfinished_ends_what_is_known(database, exchange):
    """The clock says it is over; its provider knows better, and is asked again at the next look."""
    exchange.running = True
    await subscribe(database)
    assert await work(database, exchange) == ["done"]
    found = await SubscriptionService(database).get(1)
    assert found.watermark == datetime(2024, 1, 9, tzinfo=UTC)
    assert await stored(database) == days(date(2024, 1, 2), date(2024, 1, 8))
    exchange.running = False
    exchange.now = await due(database)
    await work(database, exchange)
    assert await stored(database) == days(date(2024, 1, 2), date(2024, 1, 10))


async def test_who_gives_no_page_is_unavailable(database, exchange):
    exchange.page = 0
    await subscribe(database)
    assert await work(database, exchange) == ["again"]
    assert "gave no page" in ((await SubscriptionService(database).get(1)).subscription.error or "")


async def test_it_stops_between_chunks_when_told(database, exchange, monkeypatch):
    monkeypatch.setattr("market_data.services.sync.chunk_length", lambda *_: timedelta(days=3))
    await subscribe(database)
    liveness = Liveness(database)
    service = SyncService(database, liveness, clients_of(exchange))
    before = await due(database)
    assert await service.sync(1, stopping=lambda: True)
    assert (exchange.asked, await due(database)) == ([], before)
    assert await service.sync(1, stopping=lambda: len(exchange.asked) >= 1)
    assert len(exchange.asked) == 1
    assert not await service.sync(1)
    assert await stored(database) == days(date(2024, 1, 2), date(2024, 1, 9))
    await liveness.close()


async def test_retention_is_a_schedule_too(database, exchange):
    await ScheduleService(database).create({"name": "nightly", "task": "retention", "cron": "47 3 * * *"})
    exchange.now = await due(database)
    assert await work(database, exchange) == ["done"]


async def test_a_calendar_that_ends_is_told(database, exchange):
    exchange.now = datetime(2200, 1, 1, tzinfo=UTC)
    with pytest.raises(InvalidInput, match="knows no session after 2200-01-01"):
        await ScheduleService(database).create({"name": "late", "task": "sync", "calendar": "XNYS"})


def test_every_minute_goes_on_through_the_hour_that_is_shown_twice():
    """On 3 November 2024 New York shows 01:00 to 02:00 twice; the second time is not taken."""
    second = datetime(2024, 11, 3, 6, 5, tzinfo=UTC)
    assert next_of_cron("* * * * *", "America/New_York", second) == datetime(2024, 11, 3, 7, tzinfo=UTC)
    first = datetime(2024, 11, 3, 5, 5, tzinfo=UTC)
    assert next_of_cron("* * * * *", "America/New_York", first) == first + timedelta(minutes=1)
    with pytest.raises(InvalidInput, match="names no time"):
        next_of_cron("0 0 30 2 *", "UTC", first)


async def test_a_passing_trouble_is_tried_again(database, exchange):
    await subscribe(database)
    exchange.trouble = [ProviderUnavailable("bell", "is asleep")]
    assert await work(database, exchange) == ["again"]
    (failed,) = await runs(database)
    assert (failed.status, failed.error) == (RunStatus.FAILED, "bell: is asleep")
    found = await SubscriptionService(database).get(1)
    assert (found.subscription.failures, found.subscription.error) == (1, "bell: is asleep")
    await SubscriptionService(database).sync(1)
    assert await drain(database, clients_of(exchange)) == ["done"]
    (run,) = await runs(database)
    assert (run.id, run.status, run.error, run.inserted) == (failed.id, RunStatus.SUCCEEDED, None, 6)
    found = await SubscriptionService(database).get(1)
    assert (found.subscription.failures, found.subscription.error) == (0, None)
    assert found.watermark == datetime(2024, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "error", [ProviderAuthError("bell", "wants a key"), SymbolNotFound("bell", "knows no ACME")]
)
async def test_what_cannot_help_is_given_up_and_the_pauses_grow(database, exchange, error):
    await subscribe(database)
    pauses = []
    for _ in range(3):
        exchange.trouble = [error]
        assert await work(database, exchange) == [type(error).__name__]
        pauses.append(await due(database) - exchange.now)
        exchange.now = await due(database)
    assert pauses == [timedelta(minutes=1), timedelta(minutes=2), timedelta(minutes=4)]
    async with database.session() as session:
        assert await session.scalar(text("SELECT count(*) FROM v_job WHERE status = 'failed'")) == 1
    assert await work(database, exchange) == ["done"]
    async with database.session() as session:
        assert await session.scalar(text("SELECT count(*) FROM v_job")) == 0


async def test_a_limit_puts_the_job_off_and_is_no_failure(database, exchange):
    await subscribe(database)
    exchange.trouble = [ProviderRateLimited("bell", "too fast", 1234)]
    assert await work(database, exchange) == ["again"]
    async with database.session() as session:
        wait = await session.scalar(text("SELECT due_at - now() FROM v_job"))
    assert timedelta(seconds=1200) < wait <= timedelta(seconds=1234)
    assert (await SubscriptionService(database).get(1)).subscription.failures == 0


async def test_a_symbol_that_is_unknown_before_its_first_bar_has_nothing_there(database, exchange):
    """Some providers answer so for a time before the listing."""
    await subscribe(database)
    await work(database, exchange)
    await SubscriptionService(database).update(1, {"since": datetime(2023, 12, 1, tzinfo=UTC)})
    exchange.trouble = [SymbolNotFound("bell", "knows no ACME")]
    assert await work(database, exchange) == ["done"]
    async with database.session() as session:
        answered = await CoverageRepository(session).spans(
            1, Answer.ANSWERED, datetime(2023, 1, 1, tzinfo=UTC), exchange.now
        )
    assert answered == [Span(datetime(2023, 12, 1, tzinfo=UTC), datetime(2024, 1, 10, tzinfo=UTC))]


async def test_a_symbol_that_is_unknown_all_at_once_is_an_error(database, exchange):
    await subscribe(database)
    await work(database, exchange)
    exchange.now = closes(date(2024, 1, 10)) + timedelta(minutes=5)
    exchange.trouble = [SymbolNotFound("bell", "knows no ACME")]
    assert await work(database, exchange) == ["SymbolNotFound"]


async def test_on_the_last_try_what_fails_is_noted_and_the_rest_goes_on(database, exchange, monkeypatch):
    monkeypatch.setattr("market_data.services.sync.chunk_length", lambda *_: timedelta(days=3))
    await subscribe(database)
    service = SubscriptionService(database)
    await work(database, exchange)
    await service.update(1, {"since": datetime(2023, 12, 20, tzinfo=UTC)})
    asked = len(exchange.asked)
    exchange.trouble = [MalformedAnswer("bell", "sent nonsense")]
    for _ in range(5):
        assert (await work(database, exchange))[-1:] == ["again"]
        exchange.trouble = [MalformedAnswer("bell", "sent nonsense")]
        await service.sync(1)
    assert await drain(database, clients_of(exchange)) == ["done"]
    async with database.session() as session:
        coverage = CoverageRepository(session)
        failed = await coverage.spans(1, Answer.FAILED, datetime(2023, 1, 1, tzinfo=UTC), exchange.now)
    (broken,) = failed
    assert broken == Span(exchange.asked[asked].start, exchange.asked[asked].end)
    newest = (await runs(database))[0]
    assert (newest.status, newest.error) == (RunStatus.PARTIAL, "bell: sent nonsense")


async def test_an_answer_that_contradicts_the_catalogue_is_given_up(database, exchange):
    await subscribe(database, exchange="XLON")
    assert await work(database, exchange) == ["InvalidInput"]
    found = await SubscriptionService(database).get(1)
    assert "XNYS" in (found.subscription.error or "") or "XLON" in (found.subscription.error or "")


async def test_what_is_gone_or_asleep_is_left_alone(database, exchange):
    service = SubscriptionService(database)
    await subscribe(database)
    await Scheduler(database).tick()
    await service.update(1, {"active": False})
    assert await drain(database, clients_of(exchange)) == ["done"]
    assert exchange.asked == []
    await service.update(1, {"active": True})
    await Scheduler(database).tick()
    await service.delete(1)
    assert await drain(database, clients_of(exchange)) == ["done"]
    assert exchange.asked == []


async def test_a_schedule_after_the_session_is_followed_a_year_long(database, exchange):
    """Subscriptions with a schedule look when it says, whatever their own clock would."""
    exchange.now = datetime(2024, 1, 1, 12, tzinfo=UTC)
    values = {"name": "after-close", "task": "sync", "calendar": "XNYS", "delay_minutes": 20}
    await ScheduleService(database).create(values)
    await subscribe(database, schedule="after-close")
    when = []
    async with Hands(database, clients_of(exchange)) as hands:
        while (at := (await ScheduleService(database).get(1)).due_at) < datetime(2025, 1, 1, tzinfo=UTC):
            exchange.now = at
            assert await work(database, exchange, hands) == ["done"]
            when.append(at)
    assert when == [closes(day) + timedelta(minutes=20) for day in DAYS]
    assert await stored(database) == days(date(2024, 1, 2), date(2024, 12, 31))


async def test_a_cron_expression_is_read_on_the_wall_clock(database, exchange):
    exchange.now = datetime(2024, 3, 8, 12, tzinfo=UTC)
    values = {"name": "evening", "task": "sync", "cron": "30 16 * * 1-5", "timezone": "America/New_York"}
    schedule = await ScheduleService(database).create(values)
    found = [schedule.due_at]
    for _ in range(2):
        exchange.now = found[-1]
        await work(database, exchange)
        found.append((await ScheduleService(database).get(1)).due_at)
    assert found == [
        datetime(2024, 3, 8, 21, 30, tzinfo=UTC),
        datetime(2024, 3, 11, 20, 30, tzinfo=UTC),
        datetime(2024, 3, 12, 20, 30, tzinfo=UTC),
    ]


async def test_what_was_missed_is_done_once(database, exchange):
    values = {"name": "often", "task": "sync", "cron": "*/5 * * * *"}
    await ScheduleService(database).create(values)
    await subscribe(database, schedule="often")
    exchange.now += timedelta(days=3)
    assert await work(database, exchange) == ["done"]
    assert await work(database, exchange) == []
    found = await ScheduleService(database).get(1)
    assert (found.last_at, found.due_at) == (
        datetime(2024, 1, 10, 18, 5, tzinfo=UTC),
        datetime(2024, 1, 13, 18, 5, tzinfo=UTC),
    )


async def test_the_calendar_may_be_corrected(database, exchange):
    """On a day the library knows nothing of, its session counts like any other."""
    async with database.session() as session:
        await CalendarOverrideRepository(session).set_("XNYS", Override(date(2024, 1, 11)), "a storm")
    await subscribe(database)
    exchange.now = closes(date(2024, 1, 10)) + timedelta(minutes=5)
    await work(database, exchange)
    assert await due(database) == closes(date(2024, 1, 12)) + timedelta(minutes=5)


async def test_a_subscription_that_makes_no_sense_is_refused(database, exchange):
    service = SubscriptionService(database)
    asked = {"provider": "bell", "symbols": ["ACME"], "since": JANUARY}
    later = asked | {"since": datetime(2030, 1, 1, tzinfo=UTC)}
    with pytest.raises(InvalidInput, match="has no 1m bars"):
        await service.subscribe(SubscriptionRequest(**asked, intervals=[Interval.M1]))
    with pytest.raises(InvalidInput, match="is still to come"):
        await service.subscribe(SubscriptionRequest(**later, intervals=[Interval.D1]))
