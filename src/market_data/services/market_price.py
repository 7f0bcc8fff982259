"""Prices out and prices taken back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from market_data.core.exceptions import AmbiguousSymbol, InstrumentNotFound, InvalidPageToken
from market_data.core.interval import Basis, Interval
from market_data.core.vocabulary import SortOrder
from market_data.db.session import Database
from market_data.repositories.instrument import InstrumentRepository
from market_data.repositories.market_price import BarReader
from market_data.repositories.market_price_writer import BarWriter
from market_data.repositories.price_source import Listed, PriceRange, PriceSourceReader, StoredKey
from market_data.repositories.series import SeriesRepository
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
    all_known: bool = False
    """Refuse when any symbol is unknown or ambiguous, not only when all are unknown."""

    def binding(self) -> object:
        """Return what a page token belongs to: all but limit and format."""
        span = [None if t is None else t.isoformat() for t in (self.start, self.end)]
        return ["prices", self.symbols, self.ids, self.interval, *span, self.source, self.basis, self.sort]


class MarketPriceService:
    """Finds the series that answer and reads them."""

    def __init__(self, database: Database, preference: Sequence[str]) -> None:
        self._database = database
        self._preference = preference
        self._sources = PriceSourceReader(database)

    async def page(self, query: PriceQuery) -> PricePage:
        """Prepare a page, or the whole range without a limit; the rows are read from what is returned.

        Raises:
            InstrumentNotFound: all are unknown, or with `all_known` some are.
            AmbiguousSymbol: with `all_known`, some fit several instruments.
            InvalidPageToken: the token is damaged or another query's.

        """
        cursor = None if query.page_token is None else _cursor(query)
        wanted = PriceRange(query.interval, query.start, query.end)
        names, series = await self._find(query, wanted, cursor)
        return PricePage(
            reader=BarReader(self._database),
            names=names,
            series=series,
            wanted=wanted,
            sort=query.sort,
            limit=query.limit,
            cursor=cursor,
            query=query.binding(),
        )

    async def latest(self, query: PriceQuery) -> PricePage:
        """Prepare an answer with the bar of the greatest ts of each; range, limit and token play no part.

        Raises:
            InstrumentNotFound: all are unknown, or with `all_known` some are.
            AmbiguousSymbol: with `all_known`, some fit several instruments.

        """
        wanted = PriceRange(query.interval)
        names, series = await self._find(query, wanted, None)
        return PricePage(
            reader=BarReader(self._database),
            names=names,
            series=series,
            wanted=wanted,
            sort=SortOrder.DESC,
            limit=None,
            latest=True,
            query=query.binding(),
        )

    async def _find(
        self, query: PriceQuery, wanted: PriceRange, cursor: Cursor | None
    ) -> tuple[list[Named[Listed]], list[StoredKey | None]]:
        """Find the instrument and the series behind everything asked for."""
        names = await self._named(query, wanted)
        if cursor is not None:
            names, pinned = await self._pinned(names, wanted, cursor)
            _require_known(query, names)
            return names, pinned
        _require_known(query, names)
        stored = [series for name in names if name.instrument for series in name.instrument.series]
        chosen = preferred(stored, self._preference, query.source, query.basis)
        return names, [chosen.get(name.instrument.id) if name.instrument else None for name in names]

    async def _named(self, query: PriceQuery, wanted: PriceRange) -> list[Named[Listed]]:
        if query.ids:
            found = {one.id: one for one in await self._sources.with_ids(query.ids, wanted)}
            return [Named(str(one), found.get(one)) for one in query.ids]
        heads = possible_exchanges(query.symbols)
        exchanges = await self._sources.exchanges(heads) if heads else set()
        listed = await self._sources.with_symbols(possible_symbols(query.symbols), wanted)
        return name_symbols(query.symbols, listed, exchanges, retired=True)

    async def _pinned(
        self, names: Sequence[Named[Listed]], wanted: PriceRange, cursor: Cursor
    ) -> tuple[list[Named[Listed]], list[StoredKey | None]]:
        """Return the series of the first page and whose they are, whatever the symbols mean by now."""
        owners = await self._sources.with_series([one for one in cursor.series if one], wanted)
        by_series = {series.id: (owner, series) for owner in owners for series in owner.series}
        found = [by_series.get(one) for one in cursor.series]
        named = [Named(name.asked, one[0]) if one else name for name, one in zip(names, found, strict=True)]
        return named, [one[1] if one else None for one in found]

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
