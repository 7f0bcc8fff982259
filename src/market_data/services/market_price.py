"""Prices out and prices taken back."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from market_data.core import clock
from market_data.core.exceptions import AmbiguousSymbol, InstrumentNotFound, InvalidPageToken
from market_data.core.interval import Basis, Interval
from market_data.core.vocabulary import SortOrder
from market_data.db.session import Database
from market_data.repositories.instrument import InstrumentRepository
from market_data.repositories.market_price import BarReader
from market_data.repositories.market_price_writer import BarWriter
from market_data.repositories.price_source import (
    Listed,
    PriceRange,
    PriceSourceReader,
    Rows,
    StoredKey,
    is_of,
    read_listed,
    with_series,
)
from market_data.repositories.series import SeriesRepository
from market_data.services.derivation import can_make, cut_at, whole
from market_data.services.naming import Named, name_symbols, possible_exchanges, possible_symbols
from market_data.services.paging import DAMAGED, decode_token
from market_data.services.price_page import Cursor, PricePage
from market_data.services.series import preferred


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceQuery:
    """Bars wanted. `symbols` or `ids`, in the order of the answer; the range is start <= ts < end."""

    symbols: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()
    interval: Interval
    start: datetime | None = None
    end: datetime | None = None
    source: str | None = None
    basis: Basis | None = None
    sort: SortOrder = SortOrder.ASC
    limit: int | None = None
    page_token: str | None = None
    latest: bool = False
    """The bar with the greatest ts of each; range, limit, sort and token then play no part."""
    all_known: bool = False
    """Refuse when any symbol is unknown or ambiguous, not only when all are unknown."""

    @property
    def range(self) -> PriceRange:
        """Return the bars wanted of whatever answers."""
        return PriceRange(self.interval, self.start, self.end)

    def binding(self) -> object:
        """Return what a page token belongs to: all but limit and format."""
        span = [None if t is None else t.isoformat() for t in (self.start, self.end)]
        return ["prices", self.symbols, self.ids, self.interval, *span, self.source, self.basis, self.sort]


@dataclass(frozen=True, slots=True)
class Sighting:
    """What the catalogue and the series said of a query at one moment."""

    listed: Rows
    pinned: Rows = ()
    exchanges: frozenset[str] = frozenset()
    bases: tuple[Rows, ...] = ()
    """What finer intervals say where the one asked for has nothing, in the order of `Interval.bases`."""
    until: datetime | None = None
    """Where bars made of those end by the clock."""


_Ask = Callable[[Sequence[int], PriceRange], Awaitable[Rows]]


class MarketPriceService:
    """Finds the series that answer and reads them."""

    def __init__(self, database: Database, preference: Sequence[str], remembered_bytes: int = 0) -> None:
        self._database = database
        self._preference = preference
        self._sources = PriceSourceReader(database)
        self._reader = BarReader(database, remembered_bytes)

    async def open(self, query: PriceQuery) -> PricePage:
        """Prepare an answer; see `page`."""
        return self.page(query, await self.look(query))

    async def look(self, query: PriceQuery) -> Sighting:
        """Read what a query is about: instruments, series and their versions; equal ones answer alike.

        Raises:
            InvalidPageToken: the token is damaged or another query's.

        """
        if query.page_token is not None:
            pins = tuple(one for one in _cursor(query).series if one)
            pinned = await self._sources.with_series(pins, query.range)
        else:
            pins, pinned = (), ()
        seen = replace(await self._named(query), pinned=pinned)
        if query.page_token is None:
            lacking = tuple(_lacking(seen.listed, query))
            return await self._with_bases(query, seen, self._sources.with_ids, lacking)
        missing = pins if len(pinned) < len(pins) else ()
        return await self._with_bases(query, seen, self._sources.with_series, missing)

    async def _named(self, query: PriceQuery) -> Sighting:
        if query.ids:
            return Sighting(await self._sources.with_ids(query.ids, query.range))
        heads = possible_exchanges(query.symbols)
        exchanges = frozenset(await self._sources.exchanges(heads)) if heads else frozenset()
        listed = await self._sources.with_symbols(possible_symbols(query.symbols), query.range)
        return Sighting(listed, exchanges=exchanges)

    async def _with_bases(
        self, query: PriceQuery, seen: Sighting, ask: _Ask, keys: Sequence[int]
    ) -> Sighting:
        """Add what finer intervals say of some instruments or series: one statement for all of them."""
        if not keys:
            return seen
        until = cut_at(query.range, clock.now())
        base = whole(query.range, until)
        end = base.end if until is None else None  # where time goes on, the version is that of the series
        asked = (ask(keys, PriceRange(one, base.start, end)) for one in query.interval.bases)
        bases = tuple(with_series(rows) for rows in await asyncio.gather(*asked))
        return replace(seen, bases=bases, until=until) if any(bases) else seen

    def page(self, query: PriceQuery, seen: Sighting) -> PricePage:
        """Prepare an answer of what was seen for the query; the rows are read from what is returned.

        Raises:
            InstrumentNotFound: all are unknown, or with `all_known` some are.
            AmbiguousSymbol: with `all_known`, some fit several instruments.
            InvalidPageToken: the token is damaged or another query's.

        """
        cursor = None if query.page_token is None else _cursor(query)
        names = _named(query, seen)
        if cursor is not None:
            names, series = _pinned(query, names, seen, cursor)
            _require_known(query, names)
        else:
            _require_known(query, names)
            stored = [series for name in names if name.instrument for series in name.instrument.series]
            chosen = {
                **preferred(_bases(query, seen), self._preference, query.source, query.basis),
                **preferred(stored, self._preference, query.source, query.basis),
            }
            series = [chosen.get(name.instrument.id) if name.instrument else None for name in names]
        return PricePage(
            reader=self._reader,
            names=names,
            series=series,
            wanted=query.range,
            sort=SortOrder.DESC if query.latest else query.sort,
            limit=query.limit,
            until=seen.until,
            latest=query.latest,
            cursor=cursor,
            query=query.binding(),
        )

    async def delete(
        self,
        instrument_id: int,
        interval: Interval,
        source: str,
        basis: Basis | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> int:
        """Take bars back: those of one source with start <= ts < end; return how many.

        Raises:
            InstrumentNotFound: no such id.

        """
        async with self._database.session() as session:
            await InstrumentRepository(session).get(instrument_id)
            fitting = [
                series.id
                for series in await SeriesRepository(session).of_instrument(instrument_id)
                if series.interval == interval and series.source == source and basis in {None, series.basis}
            ]
            return await BarWriter(session).delete(interval, fitting, start, end)


def _named(query: PriceQuery, seen: Sighting) -> list[Named[Listed]]:
    listed = read_listed(query.interval, seen.listed)
    if query.ids:
        found = {one.id: one for one in listed}
        return [Named(str(one), found.get(one)) for one in query.ids]
    return name_symbols(query.symbols, listed, seen.exchanges, retired=True)


def _lacking(rows: Rows, query: PriceQuery) -> set[int]:
    """Return the instruments without a series of the interval that may answer."""
    having = {row[0] for row in rows if is_of(row, query.source, query.basis)}
    return set() if len(having) == len(rows) else {row[0] for row in rows} - having


def _bases(query: PriceQuery, seen: Sighting) -> list[StoredKey]:
    """Return the series of which bars of the interval can be made."""
    found = zip(query.interval.bases, seen.bases, strict=False)
    return [
        series
        for interval, rows in found
        for listed in read_listed(interval, rows)
        for series in listed.series
        if can_make(series, query.interval, listed.asset_class)
    ]


def _pinned(
    query: PriceQuery, names: Sequence[Named[Listed]], seen: Sighting, cursor: Cursor
) -> tuple[list[Named[Listed]], list[StoredKey | None]]:
    """Return the series of the first page and whose they are, whatever the symbols mean by now."""
    by_series = {
        series.id: (owner, series)
        for interval, rows in zip(
            (query.interval, *query.interval.bases), (seen.pinned, *seen.bases), strict=False
        )
        for owner in read_listed(interval, rows)
        for series in owner.series
    }
    found = [by_series.get(one) for one in cursor.series]
    named = [Named(name.asked, one[0]) if one else name for name, one in zip(names, found, strict=True)]
    return named, [one[1] if one else None for one in found]


def _cursor(query: PriceQuery) -> Cursor:
    cursor = decode_token(str(query.page_token), query.binding(), Cursor)
    if not cursor.fits(len(query.symbols or query.ids)):
        raise InvalidPageToken(DAMAGED)
    return cursor


def _require_known(query: PriceQuery, names: Sequence[Named[Listed]]) -> None:
    """Refuse when all symbols are unknown, or with `all_known` when any is unknown or ambiguous."""
    unknown = [name.asked for name in names if name.instrument is None and not name.ambiguous]
    ambiguous = {name.asked: name.candidates for name in names if name.ambiguous}
    if len(unknown) == len(names) or (query.all_known and unknown):
        raise InstrumentNotFound(unknown, ambiguous)
    if query.all_known and ambiguous:
        raise AmbiguousSymbol(ambiguous)
