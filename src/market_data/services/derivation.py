"""Bars of an interval that is not stored, made of finer ones when they are asked for.

Stored bars win for a whole series; else the finest base of one source and basis is used, never a mixture.
What is made is never stored, so it cannot be stale. Only bars that are over by the clock are made.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from operator import itemgetter

import numpy as np

from market_data.core.bars import Bars
from market_data.core.interval import Interval, aware
from market_data.core.resample import Resampler
from market_data.core.vocabulary import AssetClass, SortOrder
from market_data.repositories.market_price import BarBlock, BarReader, SeriesRange
from market_data.repositories.price_source import PriceRange, StoredKey

Based = tuple[Interval, SeriesRange]
"""A range to read, in bars of this interval."""
_BASE = itemgetter(0)


def can_make(base: StoredKey, wanted: Interval, asset_class: str) -> bool:
    """Tell whether whole bars can be made of a series.

    Its bars lie on UTC's grid, as the wanted ones do. Days are made of shorter bars only where trading never
    stops: elsewhere a day is a session, which begins and ends by a calendar.
    """
    in_days = not base.interval.is_intraday
    return base.is_aligned and (wanted.is_intraday or in_days or asset_class == AssetClass.CRYPTO)


def cut_at(wanted: PriceRange, now: datetime) -> datetime | None:
    """Return where a range ends by the clock; None when all of it is over."""
    until = wanted.interval.floor_instant(now)
    return until if wanted.end is None or wanted.end > until else None


def whole(wanted: PriceRange, until: datetime | None) -> PriceRange:
    """Return the range of the base that a range of wanted bars, cut at an instant, is made of."""

    def start_of_bar(instant: datetime | None) -> datetime | None:
        if instant is None:
            return None
        return wanted.interval.ceil_instant(instant if until is None else min(instant, until))

    end = until if wanted.end is None else start_of_bar(wanted.end)
    return PriceRange(wanted.interval, start_of_bar(wanted.start), end)


async def stream(
    reader: BarReader, wanted: Interval, ranges: Sequence[Based], *, sort: SortOrder, limit: int | None
) -> AsyncGenerator[BarBlock]:
    """Yield bars of the wanted interval as `BarReader.stream` does; of one moment are those of one base."""
    left = limit
    for base, group in groupby(ranges, _BASE):
        parts = [one for _, one in group]
        if base is wanted:
            found = reader.stream(wanted, parts, sort=sort, limit=left)
        else:
            found = _made(reader, wanted, base, parts, sort)
        async with aclosing(found) as blocks:
            async for block in blocks:
                yield block.first(left)
                left = None if left is None else left - min(left, len(block.bars))
                if left == 0:
                    return


async def latest(reader: BarReader, wanted: Interval, ranges: Sequence[Based]) -> AsyncGenerator[BarBlock]:
    """Yield the newest bar of each range, in their order."""
    for base, group in groupby(ranges, _BASE):
        parts = [one for _, one in group]
        found = reader.latest(wanted, parts) if base is wanted else _newest(reader, wanted, base, parts)
        async with aclosing(found) as blocks:
            async for block in blocks:
                yield block


async def _made(
    reader: BarReader, wanted: Interval, base: Interval, ranges: Sequence[SeriesRange], sort: SortOrder
) -> AsyncGenerator[BarBlock]:
    position, making = -1, Resampler(wanted, sort)
    async with aclosing(reader.stream(base, ranges, sort=sort)) as blocks:
        async for block in blocks:
            for place, part in block.parts():
                if place != position:
                    last = making.finish()
                    if len(last):
                        yield _block(position, last)
                    position = place
                made = making.add(part)
                if len(made):
                    yield _block(position, made)
    last = making.finish()
    if len(last):
        yield _block(position, last)


async def _newest(
    reader: BarReader, wanted: Interval, base: Interval, ranges: Sequence[SeriesRange]
) -> AsyncGenerator[BarBlock]:
    """Find the newest bar of the base, which tells the wanted one, and read what that is made of."""
    of_position = {one.position: one for one in ranges}
    near = []
    async with aclosing(reader.latest(base, ranges)) as blocks:
        async for block in blocks:
            for position, bars in block.parts():
                start = wanted.floor(bars.ts[-1:])
                end = aware(wanted.end(start)[0])
                near.append(replace(of_position[position], start=aware(start[0]), end=end))
    async with aclosing(_made(reader, wanted, base, near, SortOrder.ASC)) as made:
        async for block in made:
            yield block


def _block(position: int, bars: Bars) -> BarBlock:
    return BarBlock(np.full(len(bars), position, "int32"), bars)
