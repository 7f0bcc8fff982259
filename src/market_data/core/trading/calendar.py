"""When bars are expected, by the calendar of a venue."""

from collections.abc import Iterable
from datetime import date, datetime
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import version
from typing import Final

import numpy as np

from market_data.core.clock import now
from market_data.core.interval import Alignment, Interval, Stamps, aware, stamp
from market_data.core.trading.bars import Rows, rows_of
from market_data.core.trading.names import EXCHANGES, WEEKDAYS, require_known
from market_data.core.trading.sessions import Override, Sessions, sessions_of

OWN_VERSION: Final = "1"
"""Version of the calendars that are made here: it changes when what they expect does."""


class TradingCalendar:
    """The sessions of a venue and the bars they make one expect. It never changes; instants are aware UTC."""

    def __init__(self, name: str, version: str, known: tuple[date, date], sessions: Sessions) -> None:
        self.name = name
        self.version = version
        """What the sessions come from, with a digest of the overrides."""
        self.known = known
        """First and last day it knows; outside of them nothing is expected but the sessions of overrides."""
        self._sessions = sessions
        order = np.argsort(sessions.closes, kind="stable")
        self._closes = sessions.closes[order]
        self._days_by_close = sessions.days[order]
        self._labels: dict[Interval, Stamps] = {}
        self._rows: dict[tuple[Interval, Alignment], Rows] = {}

    def expected(
        self, interval: Interval, start: datetime, end: datetime, alignment: Alignment = Alignment.UTC
    ) -> Stamps:
        """Return the starts of the bars one expects of [start, end), by their start; ascending, UTC.

        Intraday bars are those that overlap trading, in part or wholly; of `weekdays`, whose hours nobody
        knows, there are none. A day is the date of its session; weeks (by their Monday) and months are those
        with a session. A range that ends before it starts has none.
        """
        if interval.is_intraday:
            return self._intraday(interval, alignment).between(*_micros(start, end)).stamps()
        return self._longer(interval)[self._part(interval, start, end)].copy()

    def count(
        self, interval: Interval, start: datetime, end: datetime, alignment: Alignment = Alignment.UTC
    ) -> int:
        """Return how many bars `expected` has, without listing them."""
        if interval.is_intraday:
            return len(self._intraday(interval, alignment).between(*_micros(start, end)))
        return len(self._longer(interval)[self._part(interval, start, end)])

    def next_close(self, after: datetime) -> datetime | None:
        """Return the first close of a session behind an instant, UTC; None when no more is known.

        A session of `24/7` and `weekdays` closes at midnight UTC, one of `24/5` at 17:00 in New York.
        """
        place = int(np.searchsorted(self._closes, stamp(after), "right"))
        return aware(self._closes[place]) if place < len(self._closes) else None

    def days_closed_until(self, instant: datetime) -> datetime | None:
        """Return the start (UTC) of the day behind the last session that was over at an instant.

        None where a day is over at its midnight and no sooner, as of all but exchanges, and before the first
        session.
        """
        place = int(np.searchsorted(self._closes, stamp(instant), "right"))
        if self.name not in EXCHANGES or place == 0:
            return None
        return aware(self._days_by_close[place - 1] + np.timedelta64(1, "D"))

    def _part(self, interval: Interval, start: datetime, end: datetime) -> slice:
        low, high = np.searchsorted(self._longer(interval), np.array([stamp(start), stamp(end)]))
        return slice(int(low), int(high))

    def _longer(self, interval: Interval) -> Stamps:
        if interval not in self._labels:
            self._labels[interval] = np.unique(interval.floor(self._sessions.days))
        return self._labels[interval]

    def _intraday(self, interval: Interval, alignment: Alignment) -> Rows:
        key = (interval, alignment)
        if key not in self._rows:
            sessions = Sessions.none() if self.name == WEEKDAYS else self._sessions
            self._rows[key] = rows_of(sessions, interval, alignment)
        return self._rows[key]


def open_calendar(name: str, overrides: Iterable[Override] = ()) -> TradingCalendar:
    """Return a calendar with some days corrected; of several overrides of a day the last counts.

    Made once a process and year: it reaches to the end of the next year, where the library does. Making one
    blocks for up to some seconds (see `sessions_of`), so an event loop should have a thread do it.

    Raises:
        InvalidInput: no calendar has this name; the field is `calendar`.

    """
    require_known(name)
    by_day = {one.day: one for one in overrides}
    return _opened(name, tuple(by_day[day] for day in sorted(by_day)), date(now().year + 1, 12, 31))


@lru_cache(maxsize=256)
def _opened(name: str, overrides: tuple[Override, ...], until: date) -> TradingCalendar:
    sessions, known = sessions_of(name, until)
    made_by = f"exchange_calendars {version('exchange_calendars')}" if name in EXCHANGES else OWN_VERSION
    if overrides:
        lines = "\n".join(f"{one.day} {one.opens} {one.closes}" for one in overrides)
        made_by += f"+{sha256(lines.encode()).hexdigest()[:8]}"
        sessions = sessions.corrected(overrides)
    return TradingCalendar(name, made_by, known, sessions)


def _micros(start: datetime, end: datetime) -> tuple[int, int]:
    return int(stamp(start).astype(np.int64)), int(stamp(end).astype(np.int64))
