"""Which series exist and what figures they carry."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, delete, exists, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from market_data.core.exceptions import SeriesNotFound
from market_data.core.interval import Interval
from market_data.models import Coverage, Instrument, Series
from market_data.repositories.market_price_writer import SeriesKey


@dataclass(frozen=True, slots=True)
class StoredSeries:
    """A series that has bars, and whose they are."""

    id: int
    instrument_id: int
    symbol: str
    exchange: str
    interval: str
    source: str
    basis: str
    first: datetime
    last: datetime
    count: int
    updated: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesFilter:
    """What to list; None does not filter."""

    instrument_ids: Sequence[int] | None = None
    interval: Interval | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class KnownSeries:
    """A series of which something is known: it has bars, or its source was asked for them."""

    id: int
    symbol: str
    source: str


_STORED = (
    select(
        Series.id,
        Series.instrument_id,
        Instrument.symbol,
        Instrument.exchange,
        Series.interval,
        Series.source,
        Series.basis,
        Series.first_ts,
        Series.last_ts,
        Series.bar_count,
        Series.updated_at,
    )
    .join(Instrument, Series.instrument_id == Instrument.id)
    .where(Series.bar_count > 0)
)


_KNOWN = (
    select(Series.id, Instrument.symbol, Series.source)
    .join(Instrument, Series.instrument_id == Instrument.id)
    .where((Series.bar_count > 0) | exists().where(Coverage.series_id == Series.id))
)


def _conditions(wanted: SeriesFilter) -> list[ColumnElement[bool]]:
    """Return what a filter asks of a series."""
    found: list[ColumnElement[bool]] = []
    if wanted.instrument_ids is not None:
        found.append(Series.instrument_id.in_(wanted.instrument_ids))
    if wanted.interval is not None:
        found.append(Series.interval == wanted.interval)
    if wanted.source is not None:
        found.append(Series.source == wanted.source)
    return found


class SeriesRepository:
    """Series are made by the bar writer; here they are found. Only those with bars count as stored."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def list_(
        self, wanted: SeriesFilter, *, limit: int, after: Sequence[object] | None = None
    ) -> list[StoredSeries]:
        """Return at most `limit` series that have bars, by symbol, then series id, behind the key `after`."""
        query = _STORED.order_by(Instrument.symbol, Series.id).limit(limit)
        query = query.where(*_conditions(wanted))
        if after is not None:
            query = query.where(tuple_(Instrument.symbol, Series.id) > tuple_(*after))
        rows = await self._session.execute(query)
        return [StoredSeries(*row) for row in rows]  # type: ignore[arg-type] # with bars, first and last are set

    async def get(self, series_id: int) -> Series:
        """Return a series, with or without bars.

        Raises:
            SeriesNotFound: no such id.

        """
        found = await self._session.get(Series, series_id)
        if found is None:
            raise SeriesNotFound(series_id)
        return found

    async def find_id(self, key: SeriesKey) -> int | None:
        """Return the id of a series, with or without bars, or None."""
        return await self._session.scalar(
            select(Series.id).where(
                Series.instrument_id == key.instrument_id,
                Series.interval == key.interval,
                Series.source == key.source,
                Series.basis == key.basis,
            )
        )

    async def lock(self, series_id: int) -> None:
        """Keep every writer of a series away until the transaction ends."""
        query = select(Series.id).where(Series.id == series_id).with_for_update(key_share=True)
        await self._session.execute(query)

    async def versions(self, interval: Interval) -> tuple[int, int]:
        """Return how many series an interval has and the sum of their versions: no change leaves both."""
        query = select(func.count(), func.coalesce(func.sum(Series.version), 0))
        count, versions = (await self._session.execute(query.where(Series.interval == interval))).one()
        return count, int(versions)

    async def list_keys(self) -> list[tuple[int, Interval]]:
        """Return id and interval of every series, empty ones included."""
        rows = await self._session.execute(select(Series.id, Series.interval).order_by(Series.id))
        return [(series_id, Interval(interval)) for series_id, interval in rows]

    async def of_instrument(self, instrument_id: int) -> list[Series]:
        """Return every series of an instrument, empty ones included."""
        query = select(Series).where(Series.instrument_id == instrument_id).order_by(Series.id)
        return list(await self._session.scalars(query))

    async def count_bars_locked(self, instrument_id: int) -> int:
        """Return how many bars an instrument has in all its series, keeping every writer from adding any."""
        query = (
            select(Series.bar_count)
            .where(Series.instrument_id == instrument_id)
            .order_by(Series.id)
            .with_for_update(key_share=True)
        )
        return sum(await self._session.scalars(query))

    async def delete_of_instrument(self, instrument_id: int) -> None:
        """Remove an instrument's series; their bars must be gone."""
        await self._session.execute(delete(Series).where(Series.instrument_id == instrument_id))

    async def list_known(
        self, wanted: SeriesFilter, *, limit: int | None, after: Sequence[object] | None = None
    ) -> list[KnownSeries]:
        """Return the series that have bars, or answers in the ledger, by symbol, then id, behind the key."""
        query = _KNOWN.where(*_conditions(wanted)).order_by(Instrument.symbol, Series.id).limit(limit)
        if after is not None:
            query = query.where(tuple_(Instrument.symbol, Series.id) > tuple_(*after))
        return [KnownSeries(*row) for row in await self._session.execute(query)]
