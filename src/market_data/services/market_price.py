"""Prices out and prices taken back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from market_data.core.exceptions import AmbiguousSymbol, InstrumentNotFound
from market_data.core.interval import Basis, Interval
from market_data.core.vocabulary import SortOrder
from market_data.db.session import Database
from market_data.models import Series
from market_data.repositories.instrument import InstrumentRepository
from market_data.repositories.market_price import BarReader
from market_data.repositories.market_price_writer import BarWriter
from market_data.repositories.series import SeriesRepository
from market_data.services.instrument import InstrumentService, Named
from market_data.services.paging import decode_token
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
        self._instruments = InstrumentService(database)

    async def page(self, query: PriceQuery) -> PricePage:
        """Prepare a page, or the whole range without a limit; the rows are read from what is returned.

        Raises:
            InstrumentNotFound: all are unknown, or with `all_known` some are.
            AmbiguousSymbol: with `all_known`, some fit several instruments.
            InvalidPageToken: the token is damaged or another query's.

        """
        cursor = None
        if query.page_token is not None:
            cursor = decode_token(query.page_token, query.binding(), Cursor)
        names = await self._named(query)
        return PricePage(
            reader=BarReader(self._database),
            names=names,
            series=await self._series(query, names, cursor),
            interval=query.interval,
            start=query.start,
            end=query.end,
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
        names = await self._named(query)
        return PricePage(
            reader=BarReader(self._database),
            names=names,
            series=await self._series(query, names, None),
            interval=query.interval,
            start=None,
            end=None,
            sort=SortOrder.DESC,
            limit=None,
            each=1,
        )

    async def _named(self, query: PriceQuery) -> list[Named]:
        if query.ids:
            names = await self._instruments.name_ids(query.ids)
        else:
            names = await self._instruments.name_symbols(query.symbols)
        unknown = [n.asked for n in names if n.instrument is None and not n.ambiguous]
        if len(unknown) == len(names) or (query.all_known and unknown):
            raise InstrumentNotFound(unknown)
        ambiguous = {n.asked: n.candidates for n in names if n.ambiguous}
        if query.all_known and ambiguous:
            raise AmbiguousSymbol(ambiguous)
        return names

    async def _series(
        self, query: PriceQuery, names: Sequence[Named], cursor: Cursor | None
    ) -> list[Series | None]:
        async with self._database.session() as session:
            repository = SeriesRepository(session)
            if cursor is not None:
                pinned = {s.id: s for s in await repository.with_ids([i for i in cursor.series if i])}
                return [pinned.get(i) for i in cursor.series]
            ids = [name.instrument.id for name in names if name.instrument]
            stored = await repository.with_bars(ids, query.interval)
        chosen = preferred(stored, self._preference, query.source, query.basis)
        return [chosen.get(name.instrument.id) if name.instrument else None for name in names]

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
