"""How to read and judge the rows of one series, as data."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from market_data.core.interval import Alignment, Interval


class Label(StrEnum):
    """Which end of its bar a stamp names."""

    START = "start"
    END = "end"


class Unfinished(StrEnum):
    """What to do with a bar that has started and whose end is still to come."""

    COUNT = "count"
    """Providers and files: the last bar is often running; it is counted, and comes again later."""
    REJECT = "reject"
    """HTTP bodies: who posts a bar says it is final, so one that ends later is a mistake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How to turn stamps into bar starts, and which bars are valid.

    `now`, `start` (inclusive) and `end` (exclusive) are aware datetimes; the range applies to bar starts.
    """

    interval: Interval
    now: datetime
    timezone: str = "UTC"
    """IANA zone of wall-clock stamps, and the zone in which bars of a day and longer take their dates."""
    wall_clock: bool = False
    """Whether stamps are wall-clock times of `timezone` and not UTC instants."""
    settling: timedelta = timedelta(0)
    """How long after its end a bar is not taken for finished yet."""
    final_until: datetime | None = None
    """Bars of a day and longer that start before it are finished though their date is not over: the session
    is. None: a date is over at midnight."""
    label: Label = Label.START
    alignment: Alignment = Alignment.UTC
    any_sign: bool = False
    """Whether prices may be zero or negative (`AssetClass.any_sign`)."""
    start: datetime | None = None
    end: datetime | None = None
    snap: bool = True
    """Providers and files: bars of a day and longer move to the date, Monday or 1st that `timezone` shows.
    HTTP bodies: False, a bar must say its start exactly, and ends in UTC."""
    unfinished: Unfinished = Unfinished.COUNT

    @property
    def by_date(self) -> bool:
        """Whether bars are whole local dates of `timezone`, not spans of UTC."""
        return self.snap and not self.interval.is_intraday
