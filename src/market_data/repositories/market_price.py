"""Bars out: one reader, binary COPY to blocks of columns, in the order asked and in constant memory."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import datetime

import asyncpg
import numpy as np
from numpy.typing import NDArray

from market_data.core.bars import Bars
from market_data.core.interval import Interval
from market_data.core.vocabulary import SortOrder
from market_data.db.binary_copy import RowBuffer, RowFormat
from market_data.db.session import Database, Raw, raw_connection
from market_data.models import bar_table

BLOCK_ROWS = 16_384
"""Rows a block holds at most: some 1.3 MB on the wire."""
_QUEUED = 4
"""Pieces read ahead of the consumer; then the server is made to wait."""
_FORMAT = RowFormat("int4", "timestamptz", "float8", "float8", "float8", "float8", "float8")


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


def _instant(value: datetime | None, default: str) -> str:
    return f"'{default if value is None else value.isoformat()}'::timestamptz"


def _ranges(ranges: Sequence[SeriesRange]) -> str:
    return ", ".join(
        f"({r.position:d}, {r.series_id:d}, {_instant(r.start, '-infinity')}, {_instant(r.end, 'infinity')})"
        for r in ranges
    )


def _query(
    interval: Interval, ranges: Sequence[SeriesRange], sort: SortOrder, limit: int | None, each: int | None
) -> str:
    """Build the statement. COPY takes no parameters: only ints and ISO instants are written into it.

    One LATERAL scan of the key per range; the nested loop keeps the ranges' order, which the reader verifies.
    """
    limits = (f"LIMIT {each:d}" if each is not None else "", f"LIMIT {limit:d}" if limit is not None else "")
    return f"""
        SELECT w.position, b.ts, b.open, b.high, b.low, b.close, b.volume
        FROM (VALUES {_ranges(ranges)}) AS w(position, series_id, lower, upper)
        CROSS JOIN LATERAL (
            SELECT ts, open, high, low, close, volume FROM {bar_table(interval)} p
            WHERE p.series_id = w.series_id AND p.ts >= w.lower AND p.ts < w.upper
            ORDER BY ts {sort.value} {limits[0]}
        ) b {limits[1]}
        """  # noqa: S608 # nothing but ints, instants and our own names


async def read_bars(
    raw: Raw,
    interval: Interval,
    ranges: Sequence[SeriesRange],
    *,
    sort: SortOrder = SortOrder.ASC,
    limit: int | None = None,
    each: int | None = None,
) -> AsyncGenerator[BarBlock]:
    """Yield blocks of at most `BLOCK_ROWS` rows over an open connection; see `BarReader.stream`."""
    if not ranges:
        return
    reached = 0
    async with aclosing(_copy_rows(raw, _query(interval, ranges, sort, limit, each))) as pieces:
        async for rows in pieces:
            block = _block(rows, reached)
            reached = int(block.position[-1])
            yield block


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
        each: int | None = None,
    ) -> AsyncGenerator[BarBlock]:
        """Yield blocks of at most `BLOCK_ROWS` rows: ranges as given, within each by ts in `sort` order.

        `limit` bounds all rows, `each` those of every range. Closing the iterator cancels the query.
        """
        async with self._database.connection() as connection:
            raw = await raw_connection(connection)
            await raw.execute("SET LOCAL max_parallel_workers_per_gather = 0")
            async with aclosing(
                read_bars(raw, interval, ranges, sort=sort, limit=limit, each=each)
            ) as blocks:
                async for block in blocks:
                    yield block


async def _copy_rows(raw: Raw, query: str) -> AsyncGenerator[bytes]:
    """Run COPY TO and yield whole rows; the server is held back while the consumer is busy."""
    buffer = RowBuffer(_FORMAT.record.itemsize)
    pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
    room = asyncio.Semaphore(_QUEUED)

    async def deliver(piece: bytes) -> None:
        await room.acquire()
        pieces.put_nowait(piece)

    task = asyncio.create_task(raw.copy_from_query(query, output=deliver, format="binary"))
    task.add_done_callback(lambda _: pieces.put_nowait(None))
    try:
        while (piece := await pieces.get()) is not None:
            room.release()
            buffer.feed(piece)
            while buffer.rows >= BLOCK_ROWS:
                yield buffer.take(BLOCK_ROWS)
        await task
        if buffer.rows:
            yield buffer.take(buffer.rows)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, asyncpg.PostgresError):
            await task


def _block(rows: bytes, expected: int) -> BarBlock:
    """Decode rows; `expected` is the position reached before them."""
    position, ts, *floats = _FORMAT.decode(rows)
    if position[0] < expected or (np.diff(position) < 0).any():
        raise RuntimeError("the database returned ranges out of order")  # wrong pages would follow
    return BarBlock(position, Bars(ts, *floats))
