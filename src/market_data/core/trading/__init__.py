"""Trading calendars: which bars a venue makes one expect. Pure: overrides are given, no database is asked."""

from market_data.core.trading.calendar import TradingCalendar, open_calendar
from market_data.core.trading.names import calendar_name, known_calendars
from market_data.core.trading.sessions import Override

__all__ = ["Override", "TradingCalendar", "calendar_name", "known_calendars", "open_calendar"]
