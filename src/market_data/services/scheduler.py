"""What is due becomes jobs: subscriptions by their own clock, schedules by cron or an exchange's sessions."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import cast
from zoneinfo import ZoneInfo

import structlog
from croniter import CroniterBadDateError, croniter

from market_data.core import clock
from market_data.core.exceptions import InvalidInput
from market_data.core.vocabulary import JobKind, ScheduleTask
from market_data.db.session import Database, Session
from market_data.models import Schedule
from market_data.repositories.job import JobRepository, NewJob
from market_data.repositories.schedule import ScheduleRepository
from market_data.repositories.subscription import Due, SubscriptionRepository
from market_data.services.calendars import CalendarService

TAKEN_FOR = timedelta(minutes=10)
"""A subscription that became a job is due again after this, should the job be lost; the job says better."""
_AT_ONCE = 20_000
_LOOK = timedelta(days=400)
"""How far ahead a next time is looked for."""

SYNC_PRIORITY, REPAIR_PRIORITY, RETENTION_PRIORITY = 10, 5, 1

_log = structlog.get_logger(__name__)


class Scheduler:
    """Looks what is due; any number of processes may, each thing becomes a job once."""

    pause = 1.0
    """Seconds between two looks."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._calendars = CalendarService(database)

    async def tick(self) -> int:
        """Make jobs of all that is due now; return how many there are new."""
        now = clock.now()
        async with self._database.session() as session:
            due = await SubscriptionRepository(session).take_due(now, now + TAKEN_FOR, _AT_ONCE)
            made = await JobRepository(session).enqueue(sync_jobs(due))
        count = sum(one is not None for one in made)
        while await self._follow_one(now):
            count += 1
        return count

    async def _follow_one(self, now: datetime) -> bool:
        """Follow one schedule that is due; what was missed while nobody looked is done once."""
        async with self._database.session() as session:
            schedule = next(iter(await ScheduleRepository(session).take_due(now)), None)
            if schedule is None:
                return False
            await JobRepository(session).enqueue(await _jobs_of(session, schedule))
            schedule.last_at = schedule.due_at
            schedule.due_at = await self.next_due(schedule, now)
            await session.flush()
            _log.info("schedule followed", schedule=schedule.name, due_at=schedule.due_at.isoformat())
        return True

    async def next_due(self, schedule: Schedule, after: datetime) -> datetime:
        """Return when a schedule is due next, strictly after an instant.

        Raises:
            InvalidInput: its calendar has no more sessions, or its cron expression no more times.

        """
        if schedule.cron is not None:
            return next_of_cron(schedule.cron, schedule.timezone, after)
        delay = timedelta(minutes=schedule.delay_minutes)
        calendar = await self._calendars.open(schedule.calendar or "")
        close = calendar.next_close(after - delay)
        if close is None:
            raise InvalidInput("calendar", f"{schedule.calendar} knows no session after {after:%Y-%m-%d}")
        return close + delay


def sync_jobs(due: Sequence[Due], priority: int = SYNC_PRIORITY) -> list[NewJob]:
    """Return the jobs that bring subscriptions up to date."""
    return [
        NewJob(
            kind=JobKind.SYNC,
            key=f"subscription:{one.id}",
            provider=one.provider,
            parameters={"subscription_id": one.id},
            priority=priority,
        )
        for one in due
    ]


async def _jobs_of(session: Session, schedule: Schedule) -> list[NewJob]:
    subscriptions = SubscriptionRepository(session)
    match ScheduleTask(schedule.task):
        case ScheduleTask.SYNC:
            return sync_jobs(await subscriptions.of_schedule(schedule.id))
        case ScheduleTask.REPAIR:
            return [repair_job(*one) for one in await subscriptions.with_series()]
        case _:
            return [NewJob(kind=JobKind.RETENTION, key="retention", priority=RETENTION_PRIORITY)]


def repair_job(series_id: int, provider: str, priority: int = REPAIR_PRIORITY) -> NewJob:
    """Return the job that fills the gaps of a series."""
    return NewJob(
        kind=JobKind.REPAIR,
        key=f"repair:{series_id}",
        provider=provider,
        parameters={"series_id": series_id},
        priority=priority,
    )


def next_of_cron(cron: str, timezone: str, after: datetime) -> datetime:
    """Return the first time a cron expression names strictly after an instant, read on a zone's wall clock.

    A time the clock skips is taken when it goes on; one it shows twice is taken the first time only.

    Raises:
        InvalidInput: the expression cannot be read, or names no time in the years to come.

    """
    require_cron(cron)
    zone = ZoneInfo(timezone)
    times = croniter(cron, after.astimezone(zone).replace(tzinfo=None))
    instant = after
    try:
        while instant <= after:  # in the hour that is shown twice, the first times are over
            wall = cast("datetime", times.get_next(datetime))
            instant = wall.replace(tzinfo=zone).astimezone(UTC)
    except CroniterBadDateError as error:  # such as the 30th of February
        raise InvalidInput("cron", f"{cron!r} names no time after {after:%Y-%m-%d}") from error
    return instant


def require_cron(cron: str) -> None:
    """Refuse an expression that is not five fields.

    Raises:
        InvalidInput: the field is `cron`.

    """
    if len(cron.split()) != 5 or not croniter.is_valid(cron):
        raise InvalidInput(
            "cron",
            f"{cron!r} is no cron expression: write minute hour day month weekday, such as 30 22 * * 1-5",
        )
