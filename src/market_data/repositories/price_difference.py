"""What incoming bars would change: they are compared with those stored where they fall."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from market_data.core.bars import Bars
from market_data.core.interval import Interval, aware
from market_data.db.session import Raw
from market_data.repositories.market_price import SeriesRange, read_bars
from market_data.repositories.price_block import block_numbers

_GAP = 64
"""Bars further apart than this many intervals are looked up separately: few rows never read much history."""


@dataclass(slots=True, eq=False)
class LockedSeries:
    """A series whose row this transaction has locked."""

    id: int
    last: np.datetime64
    """Start of its last bar; NaT where it has none."""


@dataclass(frozen=True, slots=True, eq=False)
class Difference:
    """One series' incoming bars, split by what is stored."""

    series: LockedSeries
    new: Bars
    changed: Bars
    unchanged: int

    def blocks(self, interval: Interval) -> NDArray[np.int64]:
        """Return the numbers of the blocks that are written to."""
        return np.unique(block_numbers(interval, np.concatenate((self.new.ts, self.changed.ts))))


def _ranges(interval: Interval, series_id: int, ts: NDArray[np.datetime64]) -> Iterable[SeriesRange]:
    """Cover the stamps with ranges that skip long stretches without any."""
    seams = np.flatnonzero(np.diff(ts) > np.timedelta64(_GAP * interval.duration)) + 1
    firsts = ts[np.concatenate(([0], seams))]
    ends = ts[np.concatenate((seams, [len(ts)])) - 1] + np.timedelta64(1, "us")
    for first, end in zip(firsts, ends, strict=True):
        yield SeriesRange(series_id, series_id, aware(first), aware(end))


async def read_stored(
    raw: Raw, interval: Interval, wanted: Sequence[tuple[LockedSeries, Bars]]
) -> dict[int, Bars]:
    """Read the stored bars around the incoming ones, by series id; behind the last there are none."""
    parts: dict[int, list[Bars]] = {series.id: [] for series, _ in wanted}
    ranges: list[SeriesRange] = []
    for series, bars in wanted:
        known = bars.ts[bars.ts <= series.last]  # NaT: none
        if len(known):
            ranges += _ranges(interval, series.id, known)
    async for block in read_bars(raw, interval, ranges):
        for series_id, part in block.parts():
            parts[series_id].append(part)
    return {series_id: Bars.concat(found) for series_id, found in parts.items()}


def compare(series: LockedSeries, bars: Bars, stored: Bars) -> Difference:
    """Split incoming bars by the stored ones; both are sorted by ts."""
    if not len(stored):
        return Difference(series, bars, stored, 0)
    place = np.searchsorted(stored.ts, bars.ts)
    known = place < len(stored)
    known[known] = stored.ts[place[known]] == bars.ts[known]
    same, there = bars.take(known), stored.take(place[known])
    differs = np.zeros(len(same), bool)
    for ours, theirs in zip(same.columns()[1:], there.columns()[1:], strict=True):
        differs |= (ours != theirs) & ~(np.isnan(ours) & np.isnan(theirs))
    return Difference(series, bars.take(~known), same.take(differs), int((~differs).sum()))
