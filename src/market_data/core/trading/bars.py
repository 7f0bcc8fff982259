"""Which bars trading makes: rows of equal steps, so that bars are counted without being listed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from market_data.core.interval import Alignment, Interval, Stamps
from market_data.core.trading.sessions import Sessions

_QUARTER = 15 * 60_000_000
_MOST_BACK = np.iinfo(np.int64).min // 2
Numbers = NDArray[np.int64]


def _bars_before(position: int, first: Numbers, count: Numbers, step: int) -> Numbers:
    """Return how many bars of each row start before an instant."""
    behind: Numbers = np.clip(-((first - position) // step), 0, count)
    return behind


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows of bars, `step` microseconds apart: where each begins (microseconds since 1970) and its count.

    They are ascending and do not overlap.
    """

    first: Numbers
    count: Numbers
    step: int

    def between(self, start: int, end: int) -> "Rows":
        """Return the bars that start in [start, end), in microseconds since 1970."""
        behind = self.first + self.count * self.step
        part = slice(
            int(np.searchsorted(behind, start, "right")), int(np.searchsorted(self.first, end, "left"))
        )
        first, count = self.first[part], self.count[part]
        low = _bars_before(start, first, count, self.step)
        high = _bars_before(end, first, count, self.step)
        return Rows(first + low * self.step, np.maximum(high - low, 0), self.step)

    def __len__(self) -> int:
        return int(self.count.sum())

    def stamps(self) -> Stamps:
        """List the bars' starts."""
        before = np.cumsum(self.count) - self.count
        starts = np.repeat(self.first - before * self.step, self.count)
        starts += np.arange(len(starts)) * self.step
        return starts.view("datetime64[us]")


def rows_of(sessions: Sessions, interval: Interval, alignment: Alignment) -> Rows:
    """Return the intraday bars that overlap trading, each once.

    Session-aligned bars of `30m`, `1h` and `4h` are counted from the quarter hour their session opens in, all
    others lie on multiples of the interval in UTC, as `Interval.aligned` has it.
    """
    starts, ends, opens = (column.view(np.int64) for column in sessions.trading())
    step = interval.duration.seconds * 1_000_000
    from_open = alignment is Alignment.SESSION and step > _QUARTER
    origin = opens - opens % _QUARTER if from_open else np.zeros_like(opens)
    first = starts - (starts - origin) % step
    last = ends - 1 - (ends - 1 - origin) % step
    # A bar may reach over a break or a close into the next stretch of trading: it belongs to the earlier one.
    before = np.concatenate([[_MOST_BACK], np.maximum.accumulate(last)[:-1]]) if len(last) else last
    first += np.maximum((before - first) // step + 1, 0) * step
    some = last >= first
    return _joined(first[some], (last[some] - first[some]) // step + 1, step)


def _joined(first: Numbers, count: Numbers, step: int) -> Rows:
    """Join rows that follow each other without a hole: trading that never stops is one row."""
    begins = np.ones(len(first), bool)
    begins[1:] = first[1:] != first[:-1] + count[:-1] * step
    if not len(first):
        return Rows(first, count, step)
    return Rows(first[begins], np.add.reduceat(count, np.flatnonzero(begins)), step)
