"""One answer with bars: which series answer, the rows as they stream by, and what they turned out to be."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Annotated

import msgspec
import numpy as np

from market_data import __version__
from market_data.core.interval import Interval, aware
from market_data.core.vocabulary import SortOrder, SymbolStatus
from market_data.repositories.market_price import PAGE_ROWS, BarBlock, BarReader, SeriesRange
from market_data.repositories.price_source import Listed, PriceRange, StoredKey
from market_data.services.derivation import Based, latest, stream, whole
from market_data.services.naming import Named
from market_data.services.paging import encode_token

_YEAR_1, _YEAR_9999 = (int(np.datetime64(year, "us").astype("int64")) for year in ("0001", "9999"))


class SymbolInfo(msgspec.Struct, frozen=True):
    """What holds for all rows of one wanted symbol; field order is that of the answer."""

    status: SymbolStatus
    count: int
    instrument_id: int | None
    exchange: str | None
    currency: str | None
    interval: Interval
    source: str | None
    basis: str | None
    derived_from: Interval | None
    """The interval whose bars these were made of; None where they are stored."""


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ended. Series are pinned, so that paging never changes over to another source."""

    position: Annotated[int, msgspec.Meta(ge=0)]
    ts: Annotated[int, msgspec.Meta(ge=_YEAR_1, lt=_YEAR_9999)]
    """Last row returned: number of its symbol, and microseconds since 1970."""
    series: list[Annotated[int, msgspec.Meta(ge=0, lt=2**31)]]
    """Pinned series id of every wanted symbol, 0 where it has none."""
    seen: list[int]
    """Numbers of symbols before `position` that had rows."""

    def fits(self, wanted: int) -> bool:
        """Whether it can belong to a query for so many symbols."""
        return self.position < wanted == len(self.series)


@dataclass(frozen=True, slots=True)
class Summary:
    """What is known once the rows are read."""

    symbols: dict[str, SymbolInfo]
    next_page_token: str | None


@dataclass(slots=True, kw_only=True, eq=False)
class PricePage:
    """Read `blocks()` to its end, then ask for `summary()`. `describe()` may be asked at any time."""

    reader: BarReader
    names: Sequence[Named[Listed]]
    series: Sequence[StoredKey | None]
    wanted: PriceRange
    sort: SortOrder
    limit: int | None
    until: datetime | None = None
    """Where bars that are made of others end by the clock; None when none is asked for beyond."""
    latest: bool = False
    """The newest bar of each, instead of a range."""
    cursor: Cursor | None = None
    query: object = None
    """What tokens and validator are bound to."""
    _counts: list[int] = field(init=False)
    _last: tuple[int, int] | None = field(init=False, default=None)
    _next_position: int | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._counts = [0] * len(self.names)

    @property
    def labels(self) -> list[str]:
        """The symbols as they were asked; a block's positions point into it."""
        return [name.asked for name in self.names]

    @property
    def is_small(self) -> bool:
        """Whether it cannot hold more rows than are read at once."""
        most = len(self.names) if self.latest else self.limit
        return most is not None and most < PAGE_ROWS

    @property
    def validator(self) -> str:
        """Name this answer: another one, with other rows or other words about them, has another name."""
        sources = [
            (
                name.asked,
                name.ambiguous,
                instrument and (instrument.id, instrument.exchange, instrument.currency),
            )
            for name in self.names
            for instrument in [name.instrument]
        ]
        versions = [series and (series.id, series.version) for series in self.series]
        told = (__version__, self.query, self.until, self.latest, self.limit, self.cursor, sources, versions)
        return blake2b(msgspec.json.encode(told), digest_size=15).hexdigest()

    @property
    def updated_at(self) -> datetime | None:
        """When rows or instruments last changed; None where that cannot be told, or time changes them."""
        if self.until is not None:
            return None
        told = (*self.series, *(name.instrument for name in self.names))
        changes = [one.updated_at for one in told if one is not None and one.updated_at is not None]
        return max(changes) if len(changes) == len(told) else None

    @property
    def is_settled(self) -> bool:
        """Whether all of it is sealed history, which hardly ever changes."""
        return all(series is not None and series.is_settled for series in self.series)

    def _ranges(self) -> list[Based]:
        first = self.cursor.position if self.cursor else 0
        ranges = []
        for position, series in enumerate(self.series):
            if series is None or position < first:
                continue
            start, end = self.wanted.start, self.wanted.end
            if self.cursor is not None and position == first:
                if self.sort is SortOrder.ASC:
                    start = aware(np.datetime64(self.cursor.ts + 1, "us"))
                else:
                    end = aware(np.datetime64(self.cursor.ts, "us"))
            if series.interval is not self.wanted.interval:
                base = whole(PriceRange(self.wanted.interval, start, end), self.until)
                start, end = base.start, base.end
            read = SeriesRange(position, series.id, start, end, series.version)
            ranges.append((series.interval, read))
        return ranges

    async def blocks(self) -> AsyncGenerator[BarBlock]:
        """Yield the rows in order. One row more than the limit is read, to know whether any follow."""
        beyond = None if self.limit is None else self.limit + 1
        left = self.limit
        interval, ranges = self.wanted.interval, self._ranges()
        if self.latest:
            rows = latest(self.reader, interval, ranges)
        else:
            rows = stream(self.reader, interval, ranges, sort=self.sort, limit=beyond)
        async with aclosing(rows) as blocks:
            async for block in blocks:
                if left is not None and len(block.bars) > left:
                    self._next_position = int(block.position[left])
                    if left:
                        yield self._counted(block.first(left))
                    return
                left = None if left is None else left - len(block.bars)
                yield self._counted(block)

    def _counted(self, block: BarBlock) -> BarBlock:
        for position, count in block.runs():
            self._counts[position] += count
        self._last = int(block.position[-1]), int(block.bars.ts[-1].astype("int64"))
        return block

    def _status(self, position: int) -> SymbolStatus:
        name = self.names[position]
        if name.ambiguous:
            return SymbolStatus.AMBIGUOUS
        if name.instrument is None:
            return SymbolStatus.NOT_FOUND
        had_rows = bool(self._counts[position]) or self._continued(position)
        if self._next_position is not None and position >= self._next_position:
            partial = position == self._next_position and had_rows
            return SymbolStatus.PARTIAL if partial else SymbolStatus.PENDING
        return SymbolStatus.COMPLETE if had_rows else SymbolStatus.EMPTY

    def _continued(self, position: int) -> bool:
        """Whether an earlier page had rows of it."""
        cursor = self.cursor
        return cursor is not None and (position == cursor.position or position in cursor.seen)

    def describe(self, position: int) -> SymbolInfo:
        """Tell what is known of one wanted symbol so far."""
        instrument, series = self.names[position].instrument, self.series[position]
        return SymbolInfo(
            status=self._status(position),
            count=self._counts[position],
            instrument_id=instrument.id if instrument else None,
            exchange=instrument.exchange if instrument else None,
            currency=instrument.currency if instrument else None,
            interval=self.wanted.interval,
            source=series.source if series else None,
            basis=series.basis if series else None,
            derived_from=series.interval if series and series.interval is not self.wanted.interval else None,
        )

    def summary(self) -> Summary:
        """Tell what the page turned out to be, once its rows are read."""
        symbols = {name.asked: self.describe(position) for position, name in enumerate(self.names)}
        return Summary(symbols, self._token())

    def _token(self) -> str | None:
        if self._next_position is None or self._last is None:
            return None
        position, ts = self._last
        seen = [p for p in range(position) if self._counts[p] or self._continued(p)]
        pins = [0 if series is None else series.id for series in self.series]
        return encode_token(Cursor(position, ts, pins, seen), self.query)
