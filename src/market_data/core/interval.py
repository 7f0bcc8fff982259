"""Bar intervals and price bases: types with behaviour, never bare strings."""

import re
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from market_data.core.exceptions import InvalidInput

Stamps = NDArray[np.datetime64]
"""Bar starts: numpy datetime64[us], UTC."""


def stamp(instant: datetime | None) -> np.datetime64:
    """Return an aware UTC datetime as datetime64[us]; NaT for None."""
    return np.datetime64("NaT" if instant is None else instant.replace(tzinfo=None), "us")


def aware(ts: np.datetime64) -> datetime:
    """Return a datetime64[us] as an aware UTC datetime."""
    naive: datetime = ts.astype(datetime)
    return naive.replace(tzinfo=UTC)


BLOCK_BARS = 1440
"""Bars a block has room for: a day of minutes, four years of days."""

_EPOCH_MONDAY = np.datetime64("1970-01-05", "us")


class Basis(StrEnum):
    """What a provider's prices are: as traded, split-adjusted, or split- and dividend-adjusted."""

    RAW = "raw"
    SPLIT = "split"
    SPLIT_DIVIDEND = "split_dividend"


class Alignment(StrEnum):
    """Where intraday bars start: on multiples of the interval in UTC, or counted from the session's open."""

    UTC = "utc"
    SESSION = "session"


class Interval(StrEnum):
    """The span of one bar. Fixed spans up to `1d`; `1w` starts on Mondays, `1mo` on the 1st, all in UTC."""

    M1 = "1m"
    M5 = "5m"
    M15 = "15m"
    M30 = "30m"
    H1 = "1h"
    H4 = "4h"
    D1 = "1d"
    W1 = "1w"
    MO1 = "1mo"

    @classmethod
    def parse(cls, text: str) -> "Interval":
        """Read an interval in any common spelling.

        Raises:
            ValueError: unknown, or `1M`, which could be a minute or a month.

        """
        if text in _EXACT:
            return _EXACT[text]
        cleaned = text.strip()
        if cleaned.endswith("M"):
            raise ValueError(f"{cleaned[:40]!r} is ambiguous: write 1m for one minute or 1mo for one month")
        if found := _spelled(cleaned.lower()):
            return found
        raise ValueError(f"unknown interval {cleaned[:40]!r}: use one of {', '.join(cls)}")

    @property
    def is_intraday(self) -> bool:
        """Whether a bar is shorter than a day."""
        return self.duration < timedelta(days=1)

    @property
    def duration(self) -> timedelta:
        """Length of one bar; of the longest month for `1mo`."""
        return timedelta(minutes=_MINUTES[self]) if self in _MINUTES else timedelta(days=31)

    @property
    def bases(self) -> tuple["Interval", ...]:
        """Intervals whose bars make up whole bars of this one, finest first."""
        shorter = tuple(one for one in Interval if one.duration < self.duration)
        return tuple(one for one in shorter if one is not Interval.W1)  # a month cuts weeks

    @property
    def block(self) -> timedelta:
        """Length of a block: what is versioned, cached and indexed as one. Blocks are counted from 1970."""
        return BLOCK_BARS * self.duration

    def floor(self, stamps: Stamps) -> Stamps:
        """Start of the bar each instant lies in. Shape, dtype (datetime64[us], UTC) and NaT are kept."""
        if self is Interval.MO1:
            return stamps.astype("datetime64[M]").astype("datetime64[us]")
        origin = _EPOCH_MONDAY if self is Interval.W1 else np.datetime64(0, "us")
        step = np.timedelta64(_MINUTES[self] * 60_000_000, "us")
        # Not `//`: NumPy warns of NaT there and answers 0, which would be a date. A remainder of NaT is NaT.
        return stamps - (stamps - origin) % step

    def floor_instant(self, instant: datetime) -> datetime:
        """Start of the bar an instant lies in."""
        return aware(self.floor(np.array([stamp(instant)]))[0])

    def ceil_instant(self, instant: datetime) -> datetime:
        """Start of the first bar that does not begin before an instant."""
        starts = self.floor(np.array([stamp(instant)]))
        return instant if starts[0] == stamp(instant) else aware(self.end(starts)[0])

    def end(self, starts: Stamps) -> Stamps:
        """First instant after each bar, given the bars' starts (datetime64[us], UTC)."""
        if self is Interval.MO1:
            return (starts.astype("datetime64[M]") + np.timedelta64(1, "M")).astype("datetime64[us]")
        return starts + np.timedelta64(_MINUTES[self] * 60_000_000, "us")

    def aligned(self, stamps: Stamps, alignment: Alignment = Alignment.UTC) -> NDArray[np.bool_]:
        """Which stamps may start a bar.

        Session-aligned intraday bars start on quarter hours (sessions open on those), or on multiples of the
        interval where it is shorter.
        """
        grid = self
        if alignment is Alignment.SESSION and self in {Interval.M30, Interval.H1, Interval.H4}:
            grid = Interval.M15
        on_grid: NDArray[np.bool_] = grid.floor(stamps) == stamps
        return on_grid


_MINUTES = {
    Interval.M1: 1,
    Interval.M5: 5,
    Interval.M15: 15,
    Interval.M30: 30,
    Interval.H1: 60,
    Interval.H4: 240,
    Interval.D1: 1440,
    Interval.W1: 10_080,
}

_UNIT_MINUTES = {
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes", "t"), 1),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 60),
    **dict.fromkeys(("d", "day", "days"), 1440),
    **dict.fromkeys(("w", "wk", "week", "weeks"), 10_080),
}
_MONTHS = {"mo", "mon", "mth", "month", "months"}
_WORDS = {"hourly": Interval.H1, "daily": Interval.D1, "weekly": Interval.W1, "monthly": Interval.MO1}
_BY_MINUTES = {minutes: interval for interval, minutes in _MINUTES.items()}
_EXACT = {str(interval): interval for interval in Interval}
_SPELLING = re.compile(r"([1-9][0-9]{0,4})?\s?([a-z]+)")


def _spelled(text: str) -> Interval | None:
    if text in _WORDS:
        return _WORDS[text]
    match = _SPELLING.fullmatch(text)
    if match is None:
        return None
    count, unit = int(match[1] or 1), match[2]
    if unit in _MONTHS:
        return Interval.MO1 if count == 1 else None
    return _BY_MINUTES.get(count * _UNIT_MINUTES.get(unit, 0))


INSTANT_PATTERN = (
    r"^\s*[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?([Zz]|[+-][0-9]{2}:[0-9]{2}))?\s*$"
)
"""What `parse_instant` reads: RFC 3339 or a date; seconds may be left out, as in ISO 8601."""


def parse_instant(text: str) -> datetime:
    """Read RFC 3339 with an offset, or a date (00:00 UTC), as an aware UTC datetime.

    Raises:
        ValueError: not such a text, a date-time without offset, or a year no bar can have.

    """
    cleaned = text.strip()
    try:
        if len(cleaned) == len("2024-01-02"):
            found = datetime.combine(date.fromisoformat(cleaned), datetime.min.time(), UTC)
        else:
            found = datetime.fromisoformat(cleaned.upper())  # RFC 3339 allows t and z, Python does not
    except ValueError:
        raise _no_time(cleaned) from None
    if found.tzinfo is None:
        raise ValueError(f"{cleaned!r} has no offset: write {cleaned}Z for UTC, or an offset such as -05:00")
    if not re.fullmatch(INSTANT_PATTERN, cleaned):  # Python reads more of ISO 8601, such as 2024-W01-1
        raise _no_time(cleaned)
    try:
        return found.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{cleaned!r} lies outside the years 1 to 9999") from None


def _no_time(text: str) -> ValueError:
    hint = " (a + in a URL must be written %2B)" if " " in text else ""
    return ValueError(f"{text[:40]!r} is not a time: write 2024-01-02 or 2024-01-02T09:30:00Z{hint}")


def require_range(start: datetime | None, end: datetime | None) -> None:
    """Refuse a range that ends before it starts.

    Raises:
        InvalidInput: it does; the field is `end`.

    """
    if start is not None and end is not None and end < start:
        raise InvalidInput("end", f"{end.isoformat()} lies before start {start.isoformat()}")
