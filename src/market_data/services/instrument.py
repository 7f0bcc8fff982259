"""The catalogue: adding, changing, removing and naming instruments."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from market_data.core.exceptions import InstrumentInUse, InstrumentNotFound
from market_data.core.interval import Interval
from market_data.db.session import Database
from market_data.models import Instrument
from market_data.repositories.instrument import InstrumentFilter, InstrumentRepository
from market_data.repositories.market_price_writer import BarWriter
from market_data.repositories.series import SeriesRepository
from market_data.services.naming import Named, name_symbols, possible_exchanges, possible_symbols
from market_data.services.paging import SymbolKey, cut_page, resume

IDENTITY = frozenset({"symbol", "exchange", "currency", "asset_class"})
"""What bars were stored under; it may change only while there are none."""


class InstrumentService:
    """Each method is one unit of work."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, instrument_id: int) -> Instrument:
        """Return an instrument.

        Raises:
            InstrumentNotFound: no such id.

        """
        async with self._database.session() as session:
            return await InstrumentRepository(session).get(instrument_id)

    async def list_(
        self, wanted: InstrumentFilter, *, limit: int, page_token: str | None
    ) -> tuple[list[Instrument], str | None]:
        """Return a page in order of symbol, and the token of the next one.

        Raises:
            InvalidPageToken: the token is damaged or another query's.

        """
        query = ("instruments", asdict(wanted))
        after = resume(page_token, query, SymbolKey)
        async with self._database.session() as session:
            found = await InstrumentRepository(session).list_(wanted, limit=limit + 1, after=after)
        return cut_page(found, limit, query, lambda one: (one.symbol, one.id))

    async def create(self, values: Mapping[str, Any]) -> Instrument:
        """Add an instrument.

        Raises:
            InstrumentExists: an active one has its symbol and exchange.

        """
        async with self._database.session() as session:
            return await InstrumentRepository(session).create(Instrument(**values))

    async def update(self, instrument_id: int, changes: Mapping[str, Any]) -> Instrument:
        """Change what is named in `changes`.

        Raises:
            InstrumentNotFound: no such id.
            InstrumentInUse: what bars were stored under cannot change while they exist.
            InstrumentExists: an active one has its new symbol and exchange.

        """
        async with self._database.session() as session:
            instruments = InstrumentRepository(session)
            instrument = await instruments.get_locked(instrument_id)
            changed = {name: value for name, value in changes.items() if getattr(instrument, name) != value}
            if not changed:
                return instrument
            fixed = sorted(IDENTITY & changed.keys())
            if fixed and await SeriesRepository(session).count_bars_locked(instrument_id):
                raise InstrumentInUse(
                    f"{', '.join(fixed)} cannot change while instrument {instrument_id} has bars: "
                    "set active to false and add a new instrument, or delete its bars first"
                )
            for name, value in changed.items():
                setattr(instrument, name, value)
            return await instruments.update(instrument)

    async def delete(self, instrument_id: int, *, cascade: bool = False) -> None:
        """Remove an instrument; with `cascade` its bars as well. Runs stay.

        Raises:
            InstrumentNotFound: no such id.
            InstrumentInUse: it has bars and `cascade` is false.

        """
        async with self._database.session() as session:
            instruments, series = InstrumentRepository(session), SeriesRepository(session)
            await instruments.get_locked(instrument_id)
            bars = await series.count_bars_locked(instrument_id)
            if bars and not cascade:
                raise InstrumentInUse(
                    f"instrument {instrument_id} has {bars} bars: add ?cascade=true to delete them with it"
                )
            writer = BarWriter(session)
            for one in await series.of_instrument(instrument_id):
                await writer.delete(Interval(one.interval), [one.id], None, None)
            await series.delete_of_instrument(instrument_id)
            await instruments.delete(instrument_id)

    async def name_symbols(self, symbols: Sequence[str], *, retired: bool = True) -> list[Named[Instrument]]:
        """Tell which instrument each `symbol` or `exchange:symbol` stands for, in the order asked.

        Active instruments win. Only with `retired`, and where no active one fits, a single inactive one does.
        """
        async with self._database.session() as session:
            return await find_named(InstrumentRepository(session), symbols, retired=retired)

    async def ids_of(self, symbols: Sequence[str]) -> list[int]:
        """Return the ids of every instrument, active or not, that these symbols may stand for.

        Raises:
            InstrumentNotFound: none of them is known.

        """
        found = {one for name in await self.name_symbols(symbols) for one in name.fitting}
        if not found:
            raise InstrumentNotFound(symbols)
        return sorted(found)

    async def name_ids(self, ids: Sequence[int]) -> list[Named[Instrument]]:
        """Tell which instrument each id stands for, in the order asked."""
        async with self._database.session() as session:
            found = {i.id: i for i in await InstrumentRepository(session).with_ids(ids)}
        return [Named(str(one), found.get(one)) for one in ids]


async def find_named(
    instruments: InstrumentRepository, symbols: Sequence[str], *, retired: bool
) -> list[Named[Instrument]]:
    """Resolve symbols inside a caller's unit of work; see `InstrumentService.name_symbols`."""
    heads = possible_exchanges(symbols)
    exchanges = await instruments.exchanges(heads) if heads else set()
    candidates = await instruments.with_symbols(possible_symbols(symbols))
    return name_symbols(symbols, candidates, exchanges, retired=retired)
