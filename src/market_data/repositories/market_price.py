"""Bars out: one reader of blocks of columns, in the order asked and in constant memory.

Each block of a series is answered by its sealed columns, or by its rows while it has none that are valid; one
statement gives both, so both are of one moment. Rows come as one value per column, which PostgreSQL
gathers nearly as fast as COPY sends them, and which can be prepared, read in batches and left at any time.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import asyncpg

from market_data.core.interval import Interval
from market_data.core.vocabulary import SortOrder
from market_data.db.binary_copy import read_column
from market_data.db.session import Database, Raw
from market_data.models import bar_table
from market_data.repositories.block_memory import BlockMemory
from market_data.repositories.market_price_blocks import (
    BarBlock,
    BlockSpan,
    SeriesRange,
    Work,
    fetch_blocks,
    join_blocks,
    what_is_left,
)
from market_data.repositories.market_price_page import PAGE_ROWS, PageReader, PageWanted
from market_data.repositories.market_price_sql import latest_query, read_columns

__all__ = ["PAGE_ROWS", "BarBlock", "BarReader", "BlockSpan", "SeriesRange", "read_bars"]

_BATCH_ROWS = 16_384
"""Rows a batch should have: some 0.8 MB of columns."""
_MOST_BLOCKS = 256


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
    work = [Work.of(interval, one) for one in ranges]
    blocks, left = 1, limit
    coming: asyncio.Task[_Batch] | None = None
    try:
        while coming is not None or work:
            found, block = await (coming or _read(raw, interval, work, sort, blocks, left))
            rows = len(block.bars)
            left = None if left is None else left - rows
            work = [] if left == 0 else what_is_left(work, found, blocks, sort)
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
    raw: Raw, interval: Interval, work: Sequence[Work], sort: SortOrder, blocks: int, rows: int | None
) -> _Batch:
    """Fetch the next blocks and decode them beside the event loop."""
    found = await fetch_blocks(raw, interval, work, sort, blocks, rows)
    return found, await asyncio.to_thread(join_blocks, found, work, sort, rows)


def _next_size(blocks: int, rows: int) -> int:
    """Return how many blocks to fetch, after so many brought so many rows."""
    if rows * 2 <= _BATCH_ROWS:
        return min(blocks * 2, _MOST_BLOCKS)
    return blocks if rows <= _BATCH_ROWS else max(blocks // 2, 1)


class BarReader:
    """Reads bars of any series; holds one connection for as long as a stream is open."""

    def __init__(self, database: Database, remembered_bytes: int = 0) -> None:
        self._database = database
        self._pages = PageReader(BlockMemory(remembered_bytes))

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
        paged = None if limit is None or limit > PAGE_ROWS else PageWanted(interval, ranges, sort, limit)
        if paged is not None and (page := self._pages.remembered(paged)) is not None:
            yield page
            return
        async with self._database.reading() as raw:
            if paged is not None and (page := await self._pages.fetched(raw, paged)) is not None:
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
        """Yield the bar with the greatest ts of each series before its end, in their order."""
        if not ranges:
            return
        async with self._database.reading() as raw:
            position, *values = await raw.fetchrow(
                latest_query(bar_table(interval)),
                [r.position for r in ranges],
                [r.series_id for r in ranges],
                [r.end for r in ranges],
            )
        if position is not None:
            yield BarBlock(read_column("int4", position), read_columns(values))
