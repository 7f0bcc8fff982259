"""Sessions of one calendar as columns, and where they come from."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from market_data.core.exceptions import InvalidInput
from market_data.core.interval import Stamps, stamp
from market_data.core.trading.names import ALWAYS, FOREX, WEEKDAYS

FIRST: Final = date(1970, 1, 1)
"""Where exchanges begin, unless the library begins later: its regular holidays know no earlier year."""
_FIRST_PLAIN = date(1900, 1, 1)
"""Where calendars without holidays begin."""
_ALL_KNOW = ("2024-01-01", "2024-02-01")
"""Within the bounds of every calendar, and little to make."""
_DAY = np.timedelta64(1, "D")
_NEW_YORK = ZoneInfo("America/New_York")
_FOREX_CLOSE = time(17)


@dataclass(frozen=True, slots=True)
class Override:
    """A day as it really is: one session without a break, or none at all. Instants are kept in UTC.

    Raises:
        InvalidInput: one of `opens` and `closes` without the other or without a zone, a session that closes
            before it opens, or one further than a day away from its own day.

    """

    day: date
    opens: datetime | None = None
    closes: datetime | None = None

    def __post_init__(self) -> None:
        if self.opens is None or self.closes is None:
            if self.opens is not self.closes:
                raise InvalidInput("closes", "a session has both an open and a close, a closed day neither")
            return
        if self.opens.tzinfo is None or self.closes.tzinfo is None:
            raise InvalidInput("opens", "open and close need an offset or a zone")
        for name, instant in (("opens", self.opens), ("closes", self.closes)):
            object.__setattr__(self, name, instant.astimezone(UTC))
        if self.opens >= self.closes:
            raise InvalidInput("closes", f"{self.closes.isoformat()} does not lie after the open")
        midnight = datetime.combine(self.day, time(), UTC)
        around = (midnight - timedelta(days=1), midnight + timedelta(days=2))
        if self.opens < around[0] or self.closes > around[1]:
            raise InvalidInput("opens", f"the session lies more than a day away from {self.day}")


@dataclass(frozen=True, slots=True, eq=False)
class Sessions:
    """Sessions, earliest first: datetime64[us] in UTC, with NaT as the break of a session that has none."""

    days: Stamps
    opens: Stamps
    closes: Stamps
    break_starts: Stamps
    break_ends: Stamps

    @classmethod
    def none(cls) -> "Sessions":
        """Return no session."""
        return cls(*(np.empty(0, "datetime64[us]") for _ in fields(cls)))

    def corrected(self, overrides: Iterable[Override]) -> "Sessions":
        """Return them with each overridden day replaced."""
        news = {one.day: one for one in overrides}
        added = [one for one in news.values() if one.opens is not None]
        kept = ~np.isin(self.days, np.array(list(news), "datetime64[us]"))
        nothing = np.full(len(added), "NaT", "datetime64[us]")
        others = (
            np.array([one.day for one in added], "datetime64[us]"),
            np.array([stamp(one.opens) for one in added], "datetime64[us]"),
            np.array([stamp(one.closes) for one in added], "datetime64[us]"),
            nothing,
            nothing,
        )
        names = [one.name for one in fields(self)]
        both = [np.concatenate([getattr(self, n)[kept], o]) for n, o in zip(names, others, strict=True)]
        order = np.argsort(both[0], kind="stable")
        return Sessions(*(column[order] for column in both))

    def trading(self) -> tuple[Stamps, Stamps, Stamps]:
        """Return where each stretch of trading starts and ends, breaks left out, and its session's open."""
        broken = ~np.isnat(self.break_starts)
        before_break = np.where(broken, np.fmin(self.break_starts, self.closes), self.closes)
        # A session that opens late may open within its break, or behind it.
        after_break = np.maximum(self.break_ends[broken], self.opens[broken])
        starts = np.concatenate([self.opens, after_break])
        ends = np.concatenate([before_break, self.closes[broken]])
        opens = np.concatenate([self.opens, self.opens[broken]])
        order = np.argsort(starts, kind="stable")
        order = order[ends[order] > starts[order]]
        return starts[order], ends[order], opens[order]


Known = tuple[date, date]


@lru_cache(maxsize=128)  # more than there are calendars: a new year makes new ones
def sessions_of(name: str, until: date) -> tuple[Sessions, Known]:
    """Return the sessions of a known calendar, and the first and last day they are known of.

    The first call for an exchange loads pandas (0.5 s); its sessions take 0.1 s, of Korea 2 s.
    """
    if name == FOREX:
        return _forex(FIRST, until), (FIRST, until)
    if name in {ALWAYS, WEEKDAYS}:
        return _whole_days(_FIRST_PLAIN, until, every=name == ALWAYS), (_FIRST_PLAIN, until)
    return _of_exchange(name, until)


def _days(first: date, last: date) -> Stamps:
    days = np.arange(np.datetime64(first, "D"), np.datetime64(last, "D") + _DAY)
    return days.astype("datetime64[us]")


def _is_weekday(days: Stamps) -> NDArray[np.bool_]:
    return np.is_busday(days.astype("datetime64[D]"))


def _whole_days(first: date, last: date, *, every: bool) -> Sessions:
    days = _days(first, last)
    if not every:
        days = days[_is_weekday(days)]
    nothing = np.full(len(days), "NaT", "datetime64[us]")
    return Sessions(days, days, days + _DAY, nothing, nothing)


def _forex(first: date, last: date) -> Sessions:
    days = _days(first, last)
    closes = np.array([_new_york_close(day) for day in days.astype("datetime64[D]").tolist()])
    before = np.concatenate([[_new_york_close(first - timedelta(days=1))], closes[:-1]])
    kept = _is_weekday(days)
    nothing = np.full(int(kept.sum()), "NaT", "datetime64[us]")
    return Sessions(days[kept], before[kept], closes[kept], nothing, nothing)


def _new_york_close(day: date) -> np.datetime64:
    return stamp(datetime.combine(day, _FOREX_CLOSE, _NEW_YORK).astimezone(UTC))


def _of_exchange(name: str, until: date) -> tuple[Sessions, Known]:
    from exchange_calendars import get_calendar  # noqa: PLC0415 # pandas comes with it, for half a second

    first, last = FIRST, until
    try:
        made = get_calendar(name, start=str(first), end=str(last))
    except ValueError:  # out of its bounds, which only its class tells
        kind = type(get_calendar(name, start=_ALL_KNOW[0], end=_ALL_KNOW[1]))
        lowest, highest = kind.bound_min(), kind.bound_max()
        first = first if lowest is None else max(first, lowest.date())
        last = last if highest is None else min(last, highest.date())
        made = kind(start=str(first), end=str(last))
    parts = [made.schedule[part] for part in ("open", "close", "break_start", "break_end")]
    columns = [part.to_numpy("datetime64[us]") for part in (made.schedule.index, *parts)]
    return Sessions(*columns), (first, last)
