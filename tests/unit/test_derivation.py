"""Bars made of finer ones as they stream by: of several series, up to a limit."""

import numpy as np
import pytest

from market_data.core.bars import Bars
from market_data.core.interval import Interval
from market_data.core.vocabulary import SortOrder
from market_data.repositories.market_price import BarBlock, SeriesRange
from market_data.services import derivation

HOUR = np.timedelta64(1, "h")
START = np.datetime64("2024-01-01", "us")


def block(*rows: tuple[int, int]) -> BarBlock:
    """Bars by position and minute; prices tell the minute."""
    minutes = np.array([minute for _, minute in rows])
    prices = minutes.astype("float64")
    ts = START + minutes * np.timedelta64(60_000_000, "us")
    return BarBlock(
        np.array([p for p, _ in rows], "int32"), Bars(ts, prices, prices, prices, prices, prices * 0 + 1)
    )


class Reader:
    """Gives blocks of an interval, and notes what was asked."""

    def __init__(self, blocks: dict[Interval, list[BarBlock]]) -> None:
        self._blocks = blocks
        self.asked: list[tuple[Interval, list[int], int | None]] = []

    async def stream(self, interval, ranges, *, sort, limit=None):  # noqa: ARG002 # the reader's signature
        self.asked.append((interval, [one.position for one in ranges], limit))
        for one in self._blocks[interval]:
            yield one


TWO = [block((0, 0), (0, 59), (0, 61)), block((0, 62), (1, 0), (1, 1)), block((1, 119))]
"""Minutes of two series: blocks end within hours."""


async def hours(reader, ranges, limit=None, sort=SortOrder.ASC) -> list[tuple]:
    found = []
    async for one in derivation.stream(reader, Interval.H1, ranges, sort=sort, limit=limit):
        for position, bars in one.parts():
            starts = ((bars.ts - START) // HOUR).tolist()
            found += [(position, *row) for row in zip(starts, bars.close.tolist(), strict=True)]
    return found


async def test_series_of_one_base_are_not_mixed():
    reader = Reader({Interval.M1: TWO})
    ranges = [(Interval.M1, SeriesRange(0, 7)), (Interval.M1, SeriesRange(1, 8))]
    assert await hours(reader, ranges) == [(0, 0, 59.0), (0, 1, 62.0), (1, 0, 1.0), (1, 1, 119.0)]
    assert reader.asked == [(Interval.M1, [0, 1], None)]


async def test_series_that_end_where_blocks_end_are_made_whole():
    reader = Reader({Interval.M1: [block((0, 0), (0, 59)), block((1, 5))]})
    ranges = [(Interval.M1, SeriesRange(0, 7)), (Interval.M1, SeriesRange(1, 8))]
    assert await hours(reader, ranges) == [(0, 0, 59.0), (1, 0, 5.0)]
    assert await hours(Reader({Interval.M1: []}), ranges) == []


@pytest.mark.parametrize(("limit", "bases"), [(1, 1), (2, 1), (3, 2), (9, 2), (None, 2)])
async def test_nothing_is_read_beyond_the_limit(limit, bases):
    stored = [block((1, 0), (1, 60))]
    reader = Reader({Interval.M1: [block((0, 0), (0, 60))], Interval.H1: stored})
    ranges = [(Interval.M1, SeriesRange(0, 7)), (Interval.H1, SeriesRange(1, 8))]
    whole = [(0, 0, 0.0), (0, 1, 60.0), (1, 0, 0.0), (1, 1, 60.0)]
    assert await hours(reader, ranges, limit) == whole[:limit]
    assert len(reader.asked) == bases
    assert reader.asked[1:] in ([], [(Interval.H1, [1], None if limit is None else limit - 2)])
