"""Calendars of instruments, with the corrections the database has of them."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime

from market_data.core.exceptions import CalendarNotFound, InvalidInput, OverrideNotFound
from market_data.core.interval import Interval
from market_data.core.trading import (
    Override,
    TradingCalendar,
    calendar_name,
    known_calendars,
    open_calendar,
)
from market_data.core.vocabulary import AssetClass
from market_data.db.session import Database
from market_data.models import CalendarOverride, Instrument
from market_data.repositories.calendar_override import CalendarOverrideRepository


@dataclass(frozen=True, slots=True)
class Calendar:
    """A calendar, and how many of its days are corrected."""

    name: str
    overrides: int


class CalendarService:
    """Opens calendars; making one takes a thread some tenths of a second, once a process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, instrument: Instrument, interval: Interval) -> TradingCalendar:
        """Return the calendar whose sessions an instrument's bars follow."""
        name = calendar_name(instrument.exchange, AssetClass(instrument.asset_class))
        if name == "24/5" and not interval.is_intraday:
            name = "weekdays"
        return await self.open(name)

    async def open(self, name: str) -> TradingCalendar:
        """Return a calendar by its name.

        Raises:
            InvalidInput: no calendar has it.

        """
        async with self._database.session() as session:
            overrides = await CalendarOverrideRepository(session).overrides(name)
        return await asyncio.to_thread(open_calendar, name, overrides)

    async def list_(self) -> list[Calendar]:
        """Return all calendars in order of name."""
        async with self._database.session() as session:
            corrected = Counter(one.calendar for one in await CalendarOverrideRepository(session).list_())
        return [Calendar(name, corrected[name]) for name in known_calendars()]

    async def overrides(self, name: str) -> list[CalendarOverride]:
        """Return the corrections of a calendar in order of day.

        Raises:
            CalendarNotFound: no calendar has this name.

        """
        _require(name)
        async with self._database.session() as session:
            return await CalendarOverrideRepository(session).list_(name)

    async def override(
        self, name: str, day: date, opens: datetime | None, closes: datetime | None, note: str | None = None
    ) -> CalendarOverride:
        """Note how a day really is, in place of what was noted before; without open and close: no session.

        Raises:
            CalendarNotFound: no calendar has this name.
            InvalidInput: one of open and close without the other, in a wrong order, or far from the day.

        """
        _require(name)
        try:
            noted = Override(day, opens, closes)
        except InvalidInput as error:
            raise InvalidInput(f"{error.field}_at", error.message) from None
        async with self._database.session() as session:
            return await CalendarOverrideRepository(session).set_(name, noted, note)

    async def forget(self, name: str, day: date) -> None:
        """Take a correction back.

        Raises:
            CalendarNotFound: no calendar has this name.
            OverrideNotFound: the day is not corrected.

        """
        _require(name)
        async with self._database.session() as session:
            found = await CalendarOverrideRepository(session).delete(name, day)
        if not found:
            raise OverrideNotFound(name, day.isoformat())


def _require(name: str) -> None:
    known = known_calendars()
    if name not in known:
        raise CalendarNotFound(name, known)
