"""Trading days as they really are, where the library's calendar has them wrong."""

from datetime import UTC, date, datetime, time

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from market_data.core.trading import Override
from market_data.models import CalendarOverride


class CalendarOverrideRepository:
    """Corrections, ordered by calendar, then day. Whether a calendar exists is the caller's to know."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def list_(self, calendar: str | None = None) -> list[CalendarOverride]:
        """Return the corrections of a calendar, or of all."""
        query = select(CalendarOverride).order_by(CalendarOverride.calendar, CalendarOverride.day)
        if calendar is not None:
            query = query.where(CalendarOverride.calendar == calendar)
        return list(await self._session.scalars(query))

    async def overrides(self, calendar: str) -> tuple[Override, ...]:
        """Return the corrections of a calendar as `open_calendar` takes them.

        Raises:
            InvalidInput: one, written by hand, breaks a rule of `Override`.

        """
        query = (
            select(CalendarOverride.day, CalendarOverride.opens_at, CalendarOverride.closes_at)
            .where(CalendarOverride.calendar == calendar)
            .order_by(CalendarOverride.day)
        )
        rows = await self._session.execute(query)
        return tuple(Override(day.astimezone(UTC).date(), opens, closes) for day, opens, closes in rows)

    async def set_(self, calendar: str, override: Override, note: str | None = None) -> CalendarOverride:
        """Note how a day is, in place of what was noted before."""
        noted = insert(CalendarOverride).values(
            calendar=calendar,
            day=_midnight(override.day),
            opens_at=override.opens,
            closes_at=override.closes,
            note=note,
        )
        changed = {name: noted.excluded[name] for name in ("opens_at", "closes_at", "note", "created_at")}
        stored = noted.on_conflict_do_update(
            index_elements=[CalendarOverride.calendar, CalendarOverride.day], set_=changed
        ).returning(CalendarOverride)
        found = await self._session.scalars(stored, execution_options={"populate_existing": True})
        return found.one()

    async def delete(self, calendar: str, day: date) -> bool:
        """Remove a correction; False when there was none."""
        gone = await self._session.scalar(
            delete(CalendarOverride)
            .where(CalendarOverride.calendar == calendar, CalendarOverride.day == _midnight(day))
            .returning(CalendarOverride.day)
        )
        return gone is not None


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
