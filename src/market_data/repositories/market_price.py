"""Bars out: one reader of blocks of columns, in the order asked and in constant memory.

Each block of a series is answered by its sealed columns, or by its rows while it has none that are valid;
one statement gives both, so both are of one moment. Rows come as one value per column, which PostgreSQL
gathers nearly as fast as COPY sends them, and which can be prepared, read in batches and left at any time.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import asyncpg
import numpy as np
from numpy.typing import NDArray

from market_data.core.bars import Bars
from market_data.core.interval import Interval
from market_data.core.vocabulary import SortOrder
from market_data.db.binary_copy import read_column
from market_data.db.column_block import decode
from market_data.db.session import Database, Raw
from market_data.models import bar_table
from market_data.repositories.market_price_sql import blocks_query, latest_query, read_columns

PAGE_ROWS = 2048
"""Rows up to which an answer of bounded size is tried in one statement."""
_BATCH_ROWS = 16_384
"""Rows a batch should have: some 0.8 MB of columns."""
_MOST_BLOCKS = 256
_PAGE_BLOCKS = 3
"""Blocks such a statement reads: what a page of a series that trades half a day lies in."""
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


@dataclass(frozen=True, slots=True)
class BarBlock:
    """Consecutive rows: `position` int32[n] says which range each belongs to."""

    position: NDArray[np.int32]
    bars: Bars


@dataclass(frozen=True, slots=True)
class BlockSpan:
    """Numbers of the first and last block that a range touches."""

    first: int
    last: int

    @classmethod
    def of(cls, interval: Interval, start: datetime | None, end: datetime | None) -> "BlockSpan":
        """Return those of start <= ts < end."""
        first = _FIRST_BLOCK if start is None else (start - _EPOCH) // interval.block
        last = _LAST_BLOCK if end is None else (end - timedelta.resolution - _EPOCH) // interval.block
        return cls(first, last)

    def beyond(self, number: int, sort: SortOrder) -> "BlockSpan":
        """Return what is left once this block was read."""
        if sort is SortOrder.ASC:
            return replace(self, first=number + 1)
        return replace(self, last=number - 1)


@dataclass(frozen=True, slots=True)
class _Work:
    """A range and what is left of it to read."""

    range: SeriesRange
    span: BlockSpan


async def _batch(
    raw: Raw, interval: Interval, work: Sequence[_Work], sort: SortOrder, blocks: int, rows: int | None
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


def _left(
    work: Sequence[_Work], found: Sequence[asyncpg.Record], blocks: int, sort: SortOrder
) -> list[_Work]:
    """Return what is left to read after a batch."""
    if len(found) < blocks:
        return list(work[blocks:])
    place, number, *_ = found[-1]
    current = work[place]
    return [replace(current, span=current.span.beyond(number, sort)), *work[place + 1 :]]


def _bars(record: asyncpg.Record, wanted: SeriesRange, sort: SortOrder) -> Bars:
    """Read the bars of one block that lie in the range."""
    _, _, columns, *values = record
    if columns is None:
        return read_columns(values)
    bars = decode(columns)
    first = 0 if wanted.start is None else int(np.searchsorted(bars.ts, _stamp(wanted.start)))
    end = len(bars) if wanted.end is None else int(np.searchsorted(bars.ts, _stamp(wanted.end)))
    bars = bars.take(slice(first, max(first, end)))
    return bars if sort is SortOrder.ASC else bars.take(slice(None, None, -1))


def _stamp(instant: datetime) -> np.datetime64:
    return np.datetime64(instant.replace(tzinfo=None), "us")


def _joined(
    found: Sequence[asyncpg.Record], work: Sequence[_Work], sort: SortOrder, rows: int | None
) -> BarBlock:
    """Read the first `rows` bars of a batch."""
    positions, parts, sizes = [], [], []
    left = rows
    for record in found:
        wanted = work[record[0]].range
        part = _bars(record, wanted, sort)
        if left is not None:
            part = part.take(slice(left)) if len(part) > left else part
            left -= len(part)
        positions.append(wanted.position)
        parts.append(part)
        sizes.append(len(part))
        if left == 0:
            break
    bars = parts[0] if len(parts) == 1 else Bars.concat(parts)
    return BarBlock(np.repeat(np.array(positions, "int32"), sizes), bars)


async def read_bars(
    raw: Raw,
    interval: Interval,
    ranges: Sequence[SeriesRange],
    *,
    sort: SortOrder = SortOrder.ASC,
    limit: int | None = None,
) -> AsyncGenerator[BarBlock]:
    """Yield the rows of all ranges over an open connection; see `BarReader.stream`.

    While the consumer works on one batch, the next is on its way.
    """
    work = [_Work(one, BlockSpan.of(interval, one.start, one.end)) for one in ranges]
    blocks, left = 1, limit
    coming: asyncio.Task[_Batch] | None = None
    try:
        while coming is not None or work:
            found, block = await (coming or _read(raw, interval, work, sort, blocks, left))
            rows = len(block.bars)
            left = None if left is None else left - rows
            work = [] if left == 0 else _left(work, found, blocks, sort)
            blocks = _next_size(blocks, rows)
            coming = asyncio.create_task(_read(raw, interval, work, sort, blocks, left)) if work else None
            if rows:
                yield block
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.wait({coming})


_Batch = tuple[list[asyncpg.Record], BarBlock]


async def _read(
    raw: Raw, interval: Interval, work: Sequence[_Work], sort: SortOrder, blocks: int, rows: int | None
) -> _Batch:
    """Fetch the next blocks and decode them beside the event loop."""
    found = await _batch(raw, interval, work, sort, blocks, rows)
    return found, await asyncio.to_thread(_joined, found, work, sort, rows)


def _next_size(blocks: int, rows: int) -> int:
    """Return how many blocks to fetch, after so many brought so many rows."""
    if rows * 2 <= _BATCH_ROWS:
        return min(blocks * 2, _MOST_BLOCKS)
    return blocks if rows <= _BATCH_ROWS else max(blocks // 2, 1)


class BarReader:
    """Reads bars of any series; holds one connection for as long as a stream is open."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def stream(
        self,
        interval: Interval,
        ranges: Sequence[SeriesRange],
        *,
        sort: SortOrder = SortOrder.ASC,
        limit: int | None = None,
    ) -> AsyncGenerator[BarBlock]:
        """Yield rows of one moment: ranges as given, within each by ts in `sort` order, `limit` at most.

        Closing the iterator cancels the query.
        """
        if not ranges:
            return
        async with self._database.reading() as raw:
            if limit is not None and limit <= PAGE_ROWS:
                page = await _page(raw, interval, ranges, sort, limit)
                if page is not None:
                    if len(page.bars):
                        yield page
                    return
            async with (
                raw.transaction(isolation="repeatable_read", readonly=True),
                aclosing(read_bars(raw, interval, ranges, sort=sort, limit=limit)) as blocks,
            ):
                async for block in blocks:
                    yield block

    async def latest(self, interval: Interval, ranges: Sequence[SeriesRange]) -> AsyncGenerator[BarBlock]:
        """Yield the bar with the greatest ts of each series, in their order; bounds play no part."""
        if not ranges:
            return
        async with self._database.reading() as raw:
            position, *values = await raw.fetchrow(
                latest_query(bar_table(interval)),
                [r.position for r in ranges],
                [r.series_id for r in ranges],
            )
        if position is not None:
            yield BarBlock(read_column("int4", position), read_columns(values))


async def _page(
    raw: Raw, interval: Interval, ranges: Sequence[SeriesRange], sort: SortOrder, limit: int
) -> BarBlock | None:
    """Read a page with a single statement, which is of one moment by itself; None when it takes more."""
    work = [_Work(one, BlockSpan.of(interval, one.start, one.end)) for one in ranges]
    found = await _batch(raw, interval, work, sort, _PAGE_BLOCKS, limit)
    block = _joined(found, work, sort, limit)
    if len(block.bars) < limit and _left(work, found, _PAGE_BLOCKS, sort):
        return None
    return block
