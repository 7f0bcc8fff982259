"""Ranges asked for in windows, for vendors that give so many bars an answer and take both ends of a range."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from market_data.core.interval import Interval, aware
from market_data.etl.columns import no_bars
from market_data.etl.provider import BarRequest
from market_data.etl.raw import RawBars

Fetch = Callable[[Interval, datetime, datetime], Awaitable[RawBars]]
"""Asks for the bars that start in a window, start inclusive, end exclusive, and returns no others."""


def span(request: BarRequest, opened: datetime, now: datetime) -> tuple[datetime, datetime]:
    """Return the first bar's start and the end of what can be asked: from the venue's opening to now.

    Never nothing: where the range holds no bar, one beside it is asked, so that the vendor says whether it
    knows the symbol.
    """
    one = request.interval.duration
    start = request.interval.ceil_instant(min(max(request.start or opened, opened), now))
    end = request.interval.ceil_instant(now)
    end = max(min(request.end or end, end), opened + one)
    return (start, end) if start < end else (request.interval.floor_instant(end - one), end)


async def walk(
    fetch: Fetch, interval: Interval, start: datetime, end: datetime, count: int
) -> AsyncIterator[RawBars]:
    """Yield the bars of a range, which is not empty, oldest first, in windows of `count` bars of one length.

    Columns without rows come once, and only where all of it has no bar. Where a window is empty, bars of a
    day tell where trading goes on: a pair listed last year is not asked for ten years of minutes.
    """
    found = False
    while start < end:
        stop = min(start + count * interval.duration, end)
        rows = await fetch(interval, start, stop)
        if len(rows):
            found = True
            yield rows
        elif interval.is_intraday and stop < end:
            stop = max(stop, await _next_day(fetch, stop, end, count))
        start = stop
    if not found:
        yield no_bars()


async def _next_day(fetch: Fetch, start: datetime, end: datetime, count: int) -> datetime:
    day = Interval.D1.floor_instant(start)
    while day < end:
        stop = min(day + timedelta(days=count), end)
        rows = await fetch(Interval.D1, day, stop)
        if len(rows):
            return aware(rows.stamp.min())
        day = stop
    return end


def last_start(interval: Interval, stop: datetime) -> datetime:
    """Start of the last bar of a window; `stop` is exclusive."""
    return interval.floor_instant(stop - timedelta(microseconds=1))


def check_order(times: Sequence[int], interval: Interval, *, strict: bool = True) -> None:
    """Refuse bars (epoch seconds) that go backwards, repeat (if `strict`) or are off the interval's grid.

    Raises:
        ValueError: they do.

    """
    if any(later < earlier or (strict and later == earlier) for earlier, later in pairwise(times)):
        raise ValueError("bars that repeat or go backwards")
    step = int(interval.duration.total_seconds())
    if any(time % step for time in times):
        raise ValueError(f"bars that do not start where {interval} bars do")
