"""Blocks of series as they are fetched: what is left to read, and the bars of each that are wanted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import asyncpg
import numpy as np
from numpy.typing import NDArray

from market_data.core.bars import Bars
from market_data.core.interval import Interval, stamp
from market_data.core.vocabulary import SortOrder
from market_data.db.column_block import decode
from market_data.db.session import Raw
from market_data.models import bar_table
from market_data.repositories.market_price_sql import blocks_query, read_columns

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_BLOCK, _LAST_BLOCK = -(2**31), 2**31 - 1


@dataclass(frozen=True, slots=True)
class SeriesRange:
    """Bars wanted of one series: start inclusive, end exclusive, aware UTC or None for open."""

    position: int
    """The caller's number for it, returned with its rows; ranges are read in the order given."""
    series_id: int
    start: datetime | None = None
    end: datetime | None = None
    version: int | None = None
    """Which version of the range is asked for, where what was read for it before may answer."""


@dataclass(frozen=True, slots=True)
class BarBlock:
    """Consecutive rows: `position` int32[n] says which range each belongs to."""

    position: NDArray[np.int32]
    bars: Bars

    def runs(self) -> list[tuple[int, int]]:
        """Return each position and how many rows it has; positions only grow."""
        position = self.position
        if position[0] == position[-1]:
            return [(int(position[0]), len(position))]
        numbers, counts = np.unique(position, return_counts=True)
        return list(zip(numbers.tolist(), counts.tolist(), strict=True))

    def parts(self) -> Iterator[tuple[int, Bars]]:
        """Yield each position and its rows."""
        end = 0
        for position, count in self.runs():
            first, end = end, end + count
            yield position, self.bars.take(slice(first, end))

    def first(self, rows: int | None) -> "BarBlock":
        """Return the first rows, so many at most."""
        if rows is None or len(self.bars) <= rows:
            return self
        return BarBlock(self.position[:rows], self.bars.take(slice(rows)))


@dataclass(frozen=True, slots=True)
class BlockSpan:
    """Numbers of the first and last block that a range touches."""

    first: int
    last: int

    @classmethod
    def of(cls, interval: Interval, start: datetime | None, end: datetime | None) -> "BlockSpan":
        """Return those of start <= ts < end."""
        first = _FIRST_BLOCK if start is None else (start - _EPOCH) // interval.block
        last = _LAST_BLOCK if end is None else (end - _EPOCH - timedelta.resolution) // interval.block
        return cls(first, last)

    def start(self, sort: SortOrder) -> int:
        """Return the number where reading begins."""
        return self.first if sort is SortOrder.ASC else self.last

    def beyond(self, number: int, sort: SortOrder) -> "BlockSpan":
        """Return what is left once this block was read."""
        if sort is SortOrder.ASC:
            return replace(self, first=number + 1)
        return replace(self, last=number - 1)


@dataclass(frozen=True, slots=True)
class Work:
    """A range and what is left of it to read."""

    range: SeriesRange
    span: BlockSpan

    @classmethod
    def of(cls, interval: Interval, wanted: SeriesRange) -> "Work":
        """Return all of a range."""
        return cls(wanted, BlockSpan.of(interval, wanted.start, wanted.end))


async def fetch_blocks(
    raw: Raw, interval: Interval, work: Sequence[Work], sort: SortOrder, blocks: int, rows: int | None
) -> list[asyncpg.Record]:
    """Fetch the next blocks of what is left; fewer than `blocks` when the first `blocks` ranges end."""
    near = work[:blocks]
    found: list[asyncpg.Record] = await raw.fetch(
        blocks_query(bar_table(interval), sort),
        range(len(near)),
        [w.range.series_id for w in near],
        [w.range.start for w in near],
        [w.range.end for w in near],
        [w.span.first for w in near],
        [w.span.last for w in near],
        interval.block,
        blocks,
        rows,
    )
    turn = 1 if sort is SortOrder.ASC else -1
    order = [(place, turn * number) for place, number, *_ in found]
    if order != sorted(order):
        raise RuntimeError("the database returned blocks out of order")
    return found


def what_is_left(
    work: Sequence[Work], found: Sequence[asyncpg.Record], blocks: int, sort: SortOrder
) -> list[Work]:
    """Return what is left to read after a batch."""
    if len(found) < blocks:
        return list(work[blocks:])
    place, number, *_ = found[-1]
    current = work[place]
    return [replace(current, span=current.span.beyond(number, sort)), *work[place + 1 :]]


def read_block(record: asyncpg.Record, wanted: SeriesRange, sort: SortOrder) -> Bars:
    """Read the bars of one block that lie in the range."""
    _, _, columns, _, *values = record
    return read_columns(values) if columns is None else part_of(decode(columns), wanted, sort)


def part_of(bars: Bars, wanted: SeriesRange, sort: SortOrder) -> Bars:
    """Return the bars of a whole block that lie in the range."""
    first = 0 if wanted.start is None else int(np.searchsorted(bars.ts, stamp(wanted.start)))
    end = len(bars) if wanted.end is None else int(np.searchsorted(bars.ts, stamp(wanted.end)))
    bars = bars.take(slice(first, max(first, end)))
    return bars if sort is SortOrder.ASC else bars.turned()


class Gathering:
    """Gathers the bars of consecutive blocks, so many at most."""

    def __init__(self, rows: int | None) -> None:
        self._left = rows
        self._positions: list[int] = []
        self._parts: list[Bars] = []

    @property
    def is_full(self) -> bool:
        """Whether no more is wanted."""
        return self._left == 0

    def add(self, position: int, part: Bars) -> None:
        """Take the next bars."""
        if self._left is not None:
            part = part.take(slice(self._left)) if len(part) > self._left else part
            self._left -= len(part)
        self._positions.append(position)
        self._parts.append(part)

    def block(self) -> BarBlock:
        """Return what was gathered."""
        bars = self._parts[0] if len(self._parts) == 1 else Bars.concat(self._parts)
        positions = np.repeat(np.array(self._positions, "int32"), [len(part) for part in self._parts])
        return BarBlock(positions, bars)


def join_blocks(
    found: Sequence[asyncpg.Record], work: Sequence[Work], sort: SortOrder, rows: int | None
) -> BarBlock:
    """Read the first `rows` bars of a batch."""
    gathering = Gathering(rows)
    for record in found:
        wanted = work[record[0]].range
        gathering.add(wanted.position, read_block(record, wanted, sort))
        if gathering.is_full:
            break
    return gathering.block()
