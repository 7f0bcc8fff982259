"""Retention: bars older than their interval's limit are removed; what is not named is kept for ever."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from market_data.core import clock
from market_data.core.exceptions import ConcurrentChange
from market_data.core.interval import Interval
from market_data.db.session import Database
from market_data.models import bar_table
from market_data.repositories.market_price_writer import BarWriter
from market_data.repositories.retention import RetentionRepository
from market_data.repositories.series import SeriesRepository


@dataclass(frozen=True, slots=True)
class Removed:
    """Bars of an interval that are older than its limit, and gone unless only asked about."""

    interval: Interval
    before: datetime
    bars: int


OnRemoved = Callable[[Interval, int], None]


class RetentionService:
    """Keeps each interval for so long, counted from now to the start of a bar."""

    def __init__(self, database: Database, limits: Mapping[Interval, timedelta]) -> None:
        now = clock.now()
        self._database = database
        self._before = {interval: now - limits[interval] for interval in Interval if interval in limits}

    async def preview(self) -> list[Removed]:
        """Count what `apply` would remove."""
        async with self._database.session() as session:
            repository = RetentionRepository(session)
            return [
                Removed(i, before, await repository.count(i, before)) for i, before in self._before.items()
            ]

    async def apply(self, on_removed: OnRemoved | None = None) -> list[Removed]:
        """Remove old bars: whole chunks of TimescaleDB at once, all else series by series; safe to repeat."""
        counts = dict.fromkeys(self._before, 0)
        for table in sorted({bar_table(interval) for interval in self._before}):
            with suppress(ConcurrentChange):  # chunks in use cannot be dropped; their rows can be deleted
                for interval, bars in (await self._drop_chunks(table)).items():
                    counts[interval] += bars
        for interval, before in self._before.items():
            for series_id in await self._old_series(interval, before):
                async with self._database.session() as session:
                    writer = BarWriter(session)
                    counts[interval] += await writer.delete(interval, [series_id], None, before)
                if on_removed is not None:
                    on_removed(interval, counts[interval])
        return [Removed(interval, before, counts[interval]) for interval, before in self._before.items()]

    async def _drop_chunks(self, table: str) -> dict[Interval, int]:
        """Drop chunks whose every bar is too old, where all that a table holds has a limit."""
        async with self._database.session() as session:
            keys = await SeriesRepository(session).list_keys()
            stored = {interval for _, interval in keys if bar_table(interval) == table}
            if not stored or not stored <= self._before.keys():
                return {}
            oldest = min(self._before[interval] for interval in stored)
            return await RetentionRepository(session).drop_chunks(sorted(stored), oldest)

    async def _old_series(self, interval: Interval, before: datetime) -> list[int]:
        async with self._database.session() as session:
            return await RetentionRepository(session).old_series(interval, before)
