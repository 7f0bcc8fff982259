"""Schedules as people set and see them."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from zoneinfo import available_timezones

from market_data.core import clock
from market_data.core.exceptions import InvalidInput, ScheduleNotFound
from market_data.core.trading.names import require_known
from market_data.db.session import Database
from market_data.models import Schedule
from market_data.repositories.schedule import ScheduleFilter, ScheduleRepository
from market_data.services.paging import IdKey, cut_page, resume
from market_data.services.scheduler import Scheduler, require_cron


class ScheduleService:
    """Each method is one unit of work."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._scheduler = Scheduler(database)

    async def get(self, schedule_id: int) -> Schedule:
        """Return a schedule.

        Raises:
            ScheduleNotFound: no such id.

        """
        async with self._database.session() as session:
            return await ScheduleRepository(session).get(schedule_id)

    async def get_by_name(self, name: str) -> Schedule:
        """Return the schedule of a name.

        Raises:
            ScheduleNotFound: no such name.

        """
        async with self._database.session() as session:
            found = await ScheduleRepository(session).find_by_name(name)
        if found is None:
            raise ScheduleNotFound(name)
        return found

    async def list_(
        self, wanted: ScheduleFilter, *, limit: int, page_token: str | None
    ) -> tuple[list[Schedule], str | None]:
        """Return a page in order of id, and the token of the next one.

        Raises:
            InvalidPageToken: the token is damaged or another query's.

        """
        query = ("schedules", asdict(wanted))
        after = resume(page_token, query, IdKey)
        async with self._database.session() as session:
            found = await ScheduleRepository(session).list_(wanted, limit=limit + 1, after=after)
        return cut_page(found, limit, query, lambda one: (one.id,))

    async def create(self, values: Mapping[str, Any]) -> Schedule:
        """Add a schedule.

        Raises:
            ScheduleExists: one has its name.
            InvalidInput: it names no time: a wrong cron expression, calendar or zone, or both, or neither.

        """
        schedule = Schedule(**{"timezone": "UTC", "delay_minutes": 0, "active": True, **values})
        _check(schedule)
        schedule.due_at = await self._scheduler.next_due(schedule, clock.now())
        async with self._database.session() as session:
            return await ScheduleRepository(session).create(schedule)

    async def update(self, schedule_id: int, changes: Mapping[str, Any]) -> Schedule:
        """Change what is named in `changes`; it is due next as it then says.

        Raises:
            ScheduleNotFound: no such id.
            ScheduleExists: another one has its new name.
            ScheduleInUse: its task changes, and subscriptions follow it.
            InvalidInput: as `create`.

        """
        async with self._database.session() as session:
            schedules = ScheduleRepository(session)
            schedule = await schedules.get(schedule_id)
            if changes.get("task", schedule.task) != schedule.task:
                await schedules.require_unused(schedule_id)
            with session.no_autoflush:
                for name, value in changes.items():
                    setattr(schedule, name, value)
                _check(schedule)
                schedule.due_at = await self._scheduler.next_due(schedule, clock.now())
            return await schedules.update(schedule)

    async def delete(self, schedule_id: int) -> None:
        """Remove a schedule.

        Raises:
            ScheduleNotFound: no such id.
            ScheduleInUse: subscriptions follow it.

        """
        async with self._database.session() as session:
            schedules = ScheduleRepository(session)
            await schedules.get(schedule_id)
            await schedules.delete(schedule_id)


def _check(schedule: Schedule) -> None:
    if (schedule.cron is None) == (schedule.calendar is None):
        raise InvalidInput("cron", "give cron or calendar, one of the two")
    if schedule.cron is not None:
        require_cron(schedule.cron)
    if schedule.calendar is not None:
        require_known(schedule.calendar)
    if schedule.timezone not in available_timezones():
        raise InvalidInput("timezone", f"{schedule.timezone!r} is not an IANA time zone")
