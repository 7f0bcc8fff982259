"""Bars of a longer interval, made of the bars they consist of."""

import numpy as np
from numpy.typing import NDArray

from market_data.core.bars import Bars, Floats
from market_data.core.interval import Interval
from market_data.core.vocabulary import SortOrder


class Resampler:
    """Makes bars of one series longer, as they stream by in either order of time.

    First open, greatest high, least low, last close, sum of the volumes there are (none at all: NaN). Bars of
    the base must each lie within one bar of the interval. Instants without any have no bar.
    """

    def __init__(self, interval: Interval, sort: SortOrder = SortOrder.ASC) -> None:
        self._interval = interval
        self._sort = sort
        self._rest = Bars.empty()

    def add(self, base: Bars) -> Bars:
        """Take the next bars of the base; return the bars that are whole by now."""
        rows = Bars.concat([self._rest, base]) if len(self._rest) else base
        seams = self._seams(rows)
        self._rest = rows.take(slice(int(seams[-1]) if len(seams) else 0, None))
        return self._made(rows, seams)

    def finish(self) -> Bars:
        """Return what is left once there are no more."""
        rest, self._rest = self._rest, Bars.empty()
        return self._made(rest, np.array([len(rest)])) if len(rest) else rest

    def _seams(self, rows: Bars) -> NDArray[np.intp]:
        """Return the positions where another bar begins."""
        starts = self._interval.floor(rows.ts)
        return np.flatnonzero(starts[1:] != starts[:-1]) + 1

    def _made(self, rows: Bars, ends: NDArray[np.intp]) -> Bars:
        """Make bars of the rows before the last of these ends."""
        if not len(ends):
            return Bars.empty()
        rows = rows.take(slice(int(ends[-1])))
        firsts, lasts = np.concatenate(([0], ends[:-1])), ends - 1
        opening, closing = (firsts, lasts) if self._sort is SortOrder.ASC else (lasts, firsts)
        return Bars(
            self._interval.floor(rows.ts[firsts]),
            rows.open[opening],
            np.maximum.reduceat(rows.high, firsts),
            np.minimum.reduceat(rows.low, firsts),
            rows.close[closing],
            _sums(rows.volume, firsts),
        )


def _sums(volume: Floats, firsts: NDArray[np.intp]) -> Floats:
    there = ~np.isnan(volume)
    sums: Floats = np.add.reduceat(np.where(there, volume, 0.0), firsts)
    sums[np.add.reduceat(there.astype("int64"), firsts) == 0] = np.nan
    return sums
