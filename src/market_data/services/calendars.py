"""Calendars of instruments, with the corrections the database has of them."""

import asyncio

from market_data.core.interval import Interval
from market_data.core.trading import TradingCalendar, calendar_name, open_calendar
from market_data.core.vocabulary import AssetClass
from market_data.db.session import Database
from market_data.models import Instrument
from market_data.repositories.calendar_override import CalendarOverrideRepository


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
