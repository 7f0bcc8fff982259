"""Corrections of calendars, from their table to the sessions they change."""

from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from market_data.core.interval import Interval
from market_data.core.trading import Override, open_calendar
from market_data.models import CalendarOverride
from market_data.repositories.calendar_override import CalendarOverrideRepository

MOURNING = date(2025, 1, 9)


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


async def test_a_correction_is_noted_changed_and_removed(database):
    async with database.session() as session:
        repository = CalendarOverrideRepository(session)
        first = await repository.set_("XNYS", Override(MOURNING), "a day of mourning")
        assert (first.calendar, first.day, first.opens_at, first.closes_at, first.note) == (
            "XNYS",
            at(2025, 1, 9),
            None,
            None,
            "a day of mourning",
        )
        assert first.created_at.utcoffset() == timedelta(0)
        half = Override(MOURNING, at(2025, 1, 9, 14, 30), at(2025, 1, 9, 18))
        changed = await repository.set_("XNYS", half)
        assert (changed.opens_at, changed.closes_at, changed.note) == (half.opens, half.closes, None)
        assert await repository.overrides("XNYS") == (half,)
        assert len(await repository.list_("XNYS")) == 1
        assert await repository.delete("XNYS", MOURNING) is True
        assert await repository.delete("XNYS", MOURNING) is False
        assert await repository.list_() == []


async def test_corrections_are_listed_by_calendar_and_day(database):
    async with database.session() as session:
        repository = CalendarOverrideRepository(session)
        for calendar, day in (("XTKS", 2), ("XNYS", 3), ("XNYS", 2), ("XLON", 9)):
            await repository.set_(calendar, Override(date(2024, 7, day)))
        listed = [(one.calendar, one.day.day) for one in await repository.list_()]
        assert listed == [("XLON", 9), ("XNYS", 2), ("XNYS", 3), ("XTKS", 2)]
        assert [one.day for one in await repository.list_("XNYS")] == [at(2024, 7, 2), at(2024, 7, 3)]
        assert await repository.list_("XETR") == []


async def test_another_session_sees_it_and_the_calendar_obeys(database):
    async with database.session() as session:
        await CalendarOverrideRepository(session).set_("XNYS", Override(date(2024, 7, 2)))
    async with database.session() as session:
        noted = await CalendarOverrideRepository(session).overrides("XNYS")
    days = open_calendar("XNYS", noted).expected(Interval.D1, at(2024, 7, 1), at(2024, 7, 6))
    assert [str(day)[:10] for day in days] == ["2024-07-01", "2024-07-03", "2024-07-05"]


async def test_half_a_session_cannot_be_stored(database):
    async def stored():
        async with database.session() as session:
            session.add(CalendarOverride(calendar="XNYS", day=at(2024, 7, 2), opens_at=at(2024, 7, 2, 9)))

    with pytest.raises(IntegrityError, match="both_or_none"):
        await stored()
