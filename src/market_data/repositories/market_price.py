"""Bars out: one reader of blocks of columns, in the order asked and in constant memory.

Whole ranges come by binary COPY. A page of few rows comes by a prepared statement that sends each column as
one value: COPY cannot be prepared, and planning it costs more than such a page does.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from functools import cache

import numpy as np
from numpy.typing import NDArray

from market_data.core.bars import Bars
from market_data.core.interval import Interval
from market_data.core.vocabulary import SortOrder
from market_data.db.binary_copy import RowBuffer, RowFormat
from market_data.db.session import Database, Raw
from market_data.models import bar_table

BLOCK_ROWS = 16_384
"""Rows a block holds at most: some 1.3 MB on the wire."""
PAGE_ROWS = 2048
"""Rows up to which an answer of bounded size is fetched as one page."""
_FIRST_ROWS = 1024
"""Rows of the first block, so that the first bytes leave within milliseconds."""
_RUN_OUT_SECONDS = 0.02
_QUEUED = 16
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


@cache
def _page_query(table: str, sort: SortOrder) -> str:
    """Build a page's statement: ranges as arrays $1 to $4, rows of each $5, of all $6 (null: no limit)."""
    return f"""
        SELECT string_agg(int4send(r.position), ''), string_agg(timestamptz_send(r.ts), ''),
            string_agg(float8send(r.open), ''), string_agg(float8send(r.high), ''),
            string_agg(float8send(r.low), ''), string_agg(float8send(r.close), ''),
            string_agg(float8send(r.volume), '')
        FROM (
            SELECT w.position, b.*
            FROM unnest($1::int[], $2::int[], $3::timestamptz[], $4::timestamptz[])
                AS w(position, series_id, lower, upper)
            CROSS JOIN LATERAL (
                SELECT ts, open, high, low, close, volume FROM {table} p
                WHERE p.series_id = w.series_id
                    AND p.ts >= coalesce(w.lower, '-infinity') AND p.ts < coalesce(w.upper, 'infinity')
                ORDER BY ts {sort.value} LIMIT $5
            ) b LIMIT $6
        ) r
        """  # noqa: S608 # nothing but our own names


async def read_page(
    raw: Raw,
    interval: Interval,
    ranges: Sequence[SeriesRange],
    *,
    sort: SortOrder,
    limit: int | None,
    each: int | None,
) -> BarBlock | None:
    """Return a bounded answer as one block, None when it is empty; see `BarReader.stream`."""
    columns = await raw.fetchrow(
        _page_query(bar_table(interval), sort),
        [r.position for r in ranges],
        [r.series_id for r in ranges],
        [r.start for r in ranges],
        [r.end for r in ranges],
        limit if each is None else each,
        limit,
    )
    if columns[0] is None:
        return None
    position, ts, *floats = (
        _FORMAT.decode_column(kind, column) for kind, column in zip(_FORMAT.types, columns, strict=True)
    )
    return _ordered(BarBlock(position, Bars(ts, *floats)), 0)


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
        if not ranges:
            return
        most = limit if each is None else each * len(ranges)
        async with self._database.reading() as raw:
            if most is not None and most <= PAGE_ROWS:
                page = await read_page(raw, interval, ranges, sort=sort, limit=limit, each=each)
                if page is not None:
                    yield page
                return
            stream = read_bars(raw, interval, ranges, sort=sort, limit=limit, each=each)
            async with aclosing(stream) as blocks:
                async for block in blocks:
                    yield block


async def _copy_rows(raw: Raw, query: str) -> AsyncGenerator[bytes]:
    """Run COPY TO and yield whole rows; the server is held back while the consumer is busy."""
    buffer = RowBuffer(_FORMAT.record.itemsize)
    pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
    room = asyncio.Semaphore(_QUEUED)
    wanted = _FIRST_ROWS

    wanted_no_more = asyncio.Event()

    async def deliver(piece: bytes) -> None:
        if not wanted_no_more.is_set():
            await room.acquire()
            pieces.put_nowait(piece)

    task = asyncio.create_task(raw.copy_from_query(query, output=deliver, format="binary"))
    task.add_done_callback(lambda _: pieces.put_nowait(None))
    try:
        while (piece := await pieces.get()) is not None:
            room.release()
            buffer.feed(piece)
            while buffer.rows >= wanted:
                yield buffer.take(wanted)
                wanted = BLOCK_ROWS
        await task
        if buffer.rows:
            yield buffer.take(buffer.rows)
    finally:
        wanted_no_more.set()
        room.release()
        await _end(raw, task)


async def _end(raw: Raw, copying: asyncio.Task[str]) -> None:
    """Let a COPY run out that nobody reads any more, or else drop its connection, and the query with it.

    asyncpg loses track of a connection whose COPY is cancelled while a piece is handed over.
    """
    try:
        await asyncio.wait({copying}, timeout=_RUN_OUT_SECONDS)
    finally:
        if not copying.done():
            raw.terminate()
        copying.add_done_callback(lambda ended: ended.cancelled() or ended.exception())


def _block(rows: bytes, reached: int) -> BarBlock:
    position, ts, *floats = _FORMAT.decode(rows)
    return _ordered(BarBlock(position, Bars(ts, *floats)), reached)


def _ordered(block: BarBlock, reached: int) -> BarBlock:
    """Verify that positions only grow, from the one reached before: wrong pages would follow."""
    if block.position[0] < reached or (np.diff(block.position) < 0).any():
        raise RuntimeError("the database returned ranges out of order")
    return block
