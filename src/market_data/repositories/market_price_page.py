"""Pages of few bars: from blocks decoded before, or by a single statement."""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from market_data.core.bars import Bars
from market_data.core.interval import Interval
from market_data.core.vocabulary import SortOrder
from market_data.db.column_block import decode
from market_data.db.session import Raw
from market_data.repositories.block_memory import BlockMemory, Step
from market_data.repositories.market_price_blocks import (
    BarBlock,
    Gathering,
    SeriesRange,
    Work,
    fetch_blocks,
    part_of,
    read_block,
    what_is_left,
)

PAGE_ROWS = 2048
"""Rows up to which an answer of bounded size is tried in one statement."""
_BLOCKS = 3
"""Blocks such a statement reads: what a page of a series that trades half a day lies in."""


@dataclass(frozen=True, slots=True)
class PageWanted:
    """The first `limit` bars of some ranges."""

    interval: Interval
    ranges: Sequence[SeriesRange]
    sort: SortOrder
    limit: int


class PageReader:
    """Reads pages, and remembers the sealed blocks they lay in."""

    def __init__(self, memory: BlockMemory) -> None:
        self._memory = memory

    def remembered(self, page: PageWanted) -> BarBlock | None:
        """Return a full page of one series, remembered of one version not older than wanted, or None."""
        wanted = page.ranges[0]
        if len(page.ranges) > 1 or wanted.version is None:
            return None
        gathering, span = Gathering(page.limit), Work.of(page.interval, wanted).span
        version = None
        while not gathering.is_full:
            step = self._memory.find(wanted.series_id, span.start(page.sort), page.sort)
            if step is None or step.version < wanted.version or version not in {None, step.version}:
                return None
            if not span.first <= step.number <= span.last:
                return None
            version = step.version
            gathering.add(wanted.position, part_of(step.bars, wanted, page.sort))
            span = span.beyond(step.number, page.sort)
        return gathering.block()

    async def fetched(self, raw: Raw, page: PageWanted) -> BarBlock | None:
        """Read a page with a single statement, which is of one moment by itself; None when it takes more."""
        work = [Work.of(page.interval, one) for one in page.ranges]
        found = await fetch_blocks(raw, page.interval, work, page.sort, _BLOCKS, page.limit)
        gathering = Gathering(page.limit)
        spans = {place: one.span for place, one in enumerate(work)}
        for record in found:
            place, number = record[0], record[1]
            wanted = work[place].range
            start = spans[place].start(page.sort)
            spans[place] = spans[place].beyond(number, page.sort)
            gathering.add(wanted.position, self._bars(record, wanted, page.sort, start))
            if gathering.is_full:
                return gathering.block()
        return None if what_is_left(work, found, _BLOCKS, page.sort) else gathering.block()

    def _bars(self, record: asyncpg.Record, wanted: SeriesRange, sort: SortOrder, start: int) -> Bars:
        """Read the bars of one block that lie in the range; remember it where it is sealed."""
        _, number, columns, version, *_ = record
        if columns is None or wanted.version is None:
            return read_block(record, wanted, sort)
        bars = decode(columns)
        self._memory.keep(wanted.series_id, start, sort, Step(version, number, bars))
        return part_of(bars, wanted, sort)
