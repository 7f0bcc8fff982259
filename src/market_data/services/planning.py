"""What to ask next, and when: arithmetic on time, without a clock, a database or a vendor.

A bar is final when its end and the provider's settling delay have passed. What is wanted runs from a
subscription's date to the first bar that is not final; what is left of it once the ledger's answers are taken
away is asked for in chunks, the newest first.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from market_data.core.interval import Alignment, Interval, aware
from market_data.core.spans import Span
from market_data.core.trading import TradingCalendar
from market_data.etl.provider import ProviderSpec

CHUNK_BARS = 50_000
"""Bars asked for as one where a provider says nothing of pages: what a dead worker's successor repeats."""
CHUNK_PAGES = 50
"""Pages of a provider that make a chunk."""
_MONTH = timedelta(days=28)
_LONGEST_BREAK = timedelta(days=15)
"""Longer than any exchange closes; an empty calendar is not waited for."""
_TICK = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 5, tzinfo=UTC)  # a Monday: chunks of weeks begin with one


def final_until(
    interval: Interval, settled: datetime, timezone: str = "UTC", alignment: Alignment = Alignment.UTC
) -> datetime:
    """Return the start of the first bar that is not final.

    `settled` is now less the settling delay. Bars of a day and longer are dates of `timezone`.
    """
    if not interval.is_intraday:
        local = settled.astimezone(ZoneInfo(timezone)).replace(tzinfo=UTC)
        return interval.floor_instant(local)
    grid = grid_of(interval, alignment)
    return grid.floor_instant(settled - interval.duration) + grid.duration


def grid_of(interval: Interval, alignment: Alignment) -> Interval:
    """Return on multiples of what bars may start; see `Interval.aligned`."""
    by_session = alignment is Alignment.SESSION and interval.is_intraday
    return Interval.M15 if by_session and interval.duration > Interval.M15.duration else interval


def days_final_until(
    interval: Interval, settled: datetime, calendar: TradingCalendar | None
) -> datetime | None:
    """Return the start of the first day whose session is not over, where sessions are known and matter."""
    return None if interval.is_intraday or calendar is None else calendar.days_closed_until(settled)


def final_of(
    spec: ProviderSpec, interval: Interval, now: datetime, timezone: str, calendar: TradingCalendar | None
) -> datetime:
    """Return the start of the first bar of a provider that is not final, by the clock or by its session."""
    settled = now - spec.settling
    by_clock = final_until(interval, settled, timezone, spec.alignment)
    days = days_final_until(interval, settled, calendar)
    return by_clock if days is None else max(by_clock, interval.floor_instant(days))


def wanted_span(spec: ProviderSpec, interval: Interval, since: datetime, final: datetime) -> Span:
    """Return what a subscription wants that its provider can still have; empty when its end is its start."""
    depth = spec.history.get(interval)
    start = since if depth is None else max(since, final - depth)
    return Span(min(grid_of(interval, spec.alignment).ceil_instant(start), final), final)


def chunk_length(spec: ProviderSpec, interval: Interval) -> timedelta:
    """Return how much time is asked for as one."""
    bars = CHUNK_BARS if spec.page_bars is None else min(spec.page_bars * CHUNK_PAGES, CHUNK_BARS)
    return min(bars * interval.duration, timedelta(days=40_000))


def chunk_of(
    left: Sequence[Span],
    known: Sequence[Span],
    length: timedelta,
    interval: Interval,
    overlap: int,
    earliest: datetime | None = None,
) -> Span | None:
    """Return the newest chunk of what is left; None when nothing is.

    A chunk that goes on where something is known begins `overlap` bars before, though not before `earliest`,
    to see what was corrected since.
    """
    if not left:
        return None
    start, end = left[-1]
    cut = _chunk_start(end, length, interval)
    if cut > start:
        return Span(cut, end)
    if earliest is not None and any(one.end == start for one in known):
        start = max(earliest, interval.floor_instant(start - overlap * interval.duration))
    return Span(start, end)


def _chunk_start(end: datetime, length: timedelta, interval: Interval) -> datetime:
    """Return where the chunk begins that ends there: at a month, or at a multiple of its length."""
    last = end - _TICK
    if length >= _MONTH and interval.is_intraday:
        months = max(int(length / timedelta(days=31)), 1)
        at = last.year * 12 + last.month - 1
        year, month = divmod(at - at % months if months > 1 else at, 12)
        return datetime(max(year, 1), month + 1, 1, tzinfo=UTC)
    steps = (last - _EPOCH) // length
    earliest = datetime(1, 2, 1, tzinfo=UTC)
    return interval.floor_instant(max(_EPOCH + steps * length, earliest))


def grown(length: timedelta, end: datetime, empty: Sequence[Span]) -> timedelta:
    """Return how far to reach back from `end`: twice as far each time all behind it turned out empty."""
    behind = next((one for one in empty if one.start <= end < one.end), None)
    return length if behind is None else max(length, behind.end - end)


def next_look(
    interval: Interval,
    final: datetime,
    settled: datetime,
    settling: timedelta,
    timezone: str,
    alignment: Alignment,
    calendar: TradingCalendar | None,
) -> datetime:
    """Return when the next bar becomes final that trading makes one expect."""
    if not interval.is_intraday:
        closes = calendar.next_close(settled) if calendar is not None else None
        return (closes or _midnight_after(settled, timezone)) + settling
    upcoming = final
    if calendar is not None:
        expected = calendar.expected(interval, final, final + _LONGEST_BREAK, alignment)
        upcoming = aware(expected[0]) if len(expected) else final
    return max(upcoming + interval.duration, settled) + settling


def _midnight_after(instant: datetime, timezone: str) -> datetime:
    zone = ZoneInfo(timezone)
    day = instant.astimezone(zone).date() + timedelta(days=1)
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
