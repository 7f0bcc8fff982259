"""Instruments and how providers call them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

from market_data.core.exceptions import InstrumentExists, InstrumentNotFound
from market_data.models import Instrument, ProviderSymbol


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentFilter:
    """What to list; None does not filter. `text` is sought in symbol and name, in any case."""

    text: str | None = None
    asset_class: str | None = None
    exchange: str | None = None
    currency: str | None = None
    active: bool | None = None


class InstrumentRepository:
    """The catalogue, ordered by symbol, then id."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def find(self, entity_id: int) -> Instrument | None:
        """Return the instrument, or None."""
        return await self._session.get(Instrument, entity_id)

    async def get(self, entity_id: int) -> Instrument:
        """Return the instrument.

        Raises:
            InstrumentNotFound: no such id.

        """
        found = await self.find(entity_id)
        if found is None:
            raise InstrumentNotFound([entity_id])
        return found

    async def get_locked(self, entity_id: int) -> Instrument:
        """Return the instrument, keeping everyone else from changing it or adding series to it.

        Raises:
            InstrumentNotFound: no such id.

        """
        found = await self._session.get(Instrument, entity_id, with_for_update=True, populate_existing=True)
        if found is None:
            raise InstrumentNotFound([entity_id])
        return found

    async def list_(
        self, wanted: InstrumentFilter, *, limit: int, after: Sequence[object] | None = None
    ) -> list[Instrument]:
        """Return at most `limit` matches behind the key (symbol, id)."""
        query = select(Instrument).order_by(Instrument.symbol, Instrument.id).limit(limit)
        if wanted.text is not None:
            in_symbol = Instrument.symbol.icontains(wanted.text, autoescape=True)
            query = query.where(in_symbol | Instrument.name.icontains(wanted.text, autoescape=True))
        for name in ("asset_class", "exchange", "currency", "active"):
            if (value := getattr(wanted, name)) is not None:
                query = query.where(getattr(Instrument, name) == value)
        if after is not None:
            query = query.where(tuple_(Instrument.symbol, Instrument.id) > tuple_(*after))
        return list(await self._session.scalars(query))

    async def create(self, entity: Instrument) -> Instrument:
        """Store a new instrument.

        Raises:
            InstrumentExists: an active one has its symbol and exchange.

        """
        self._session.add(entity)
        return await self._stored(entity)

    async def update(self, entity: Instrument) -> Instrument:
        """Store what changed.

        Raises:
            InstrumentExists: an active one has its symbol and exchange.

        """
        entity.updated_at = func.now()
        return await self._stored(entity)

    async def _stored(self, entity: Instrument) -> Instrument:
        symbol, exchange = entity.symbol, entity.exchange
        try:
            await self._session.flush()
        except IntegrityError as error:
            if "uq_instrument_active" in str(error.orig):
                raise InstrumentExists(symbol, exchange) from None
            raise
        await self._session.refresh(entity)
        return entity

    async def delete(self, entity_id: int) -> None:
        """Remove the instrument and its provider symbols; its series must be gone."""
        await self._session.execute(delete(Instrument).where(Instrument.id == entity_id))

    async def with_symbols(self, symbols: Sequence[str]) -> list[Instrument]:
        """Return every instrument, active or not, that has one of these symbols, oldest first."""
        query = select(Instrument).where(Instrument.symbol.in_(symbols)).order_by(Instrument.id)
        return list(await self._session.scalars(query))

    async def with_ids(self, ids: Sequence[int]) -> list[Instrument]:
        """Return those of these that exist."""
        return list(await self._session.scalars(select(Instrument).where(Instrument.id.in_(ids))))

    async def exchanges(self, codes: Sequence[str]) -> set[str]:
        """Return those of these codes that some instrument is listed on."""
        query = select(Instrument.exchange).where(Instrument.exchange.in_(codes)).distinct()
        return set(await self._session.scalars(query))

    async def find_by_provider_symbol(self, provider: str, symbol: str) -> Instrument | None:
        """Return what a provider means by its own symbol, if that was settled before."""
        query = (
            select(Instrument)
            .join(ProviderSymbol, ProviderSymbol.instrument_id == Instrument.id)
            .where(ProviderSymbol.provider == provider, ProviderSymbol.symbol == symbol)
        )
        return await self._session.scalar(query)

    async def find_provider_symbol(self, provider: str, instrument_id: int) -> str | None:
        """Return what a provider calls an instrument; of several names the first by alphabet."""
        query = select(func.min(ProviderSymbol.symbol)).where(
            ProviderSymbol.provider == provider, ProviderSymbol.instrument_id == instrument_id
        )
        return await self._session.scalar(query)

    async def settle_provider_symbol(self, provider: str, symbol: str, instrument_id: int) -> None:
        """Remember what a provider means by its own symbol from now on."""
        values = {"provider": provider, "symbol": symbol, "instrument_id": instrument_id}
        settled = insert(ProviderSymbol).values(values)
        await self._session.execute(
            settled.on_conflict_do_update(
                index_elements=[ProviderSymbol.provider, ProviderSymbol.symbol],
                set_={"instrument_id": settled.excluded.instrument_id},
            )
        )

    def savepoint(self) -> AsyncSessionTransaction:
        """Open a part of the unit of work that can fail alone."""
        return self._session.begin_nested()
