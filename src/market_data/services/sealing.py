"""The column index: built from what has come to rest, beside the rows and never instead of them."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import structlog

from market_data.core.interval import Interval
from market_data.db.session import Database
from market_data.repositories.price_block import OpenBlock, PriceBlockRepository
from market_data.repositories.series import SeriesRepository

_BLOCKS = 32
"""Blocks sealed in one transaction: up to 184,320 bars."""

_log = structlog.get_logger(__name__)

OnBlocks = Callable[[int], None]
OnSeries = Callable[[int, int, int], None]


class SealingService:
    """Builds the column index; one process at a time does, others leave the work to it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def seal(self, quiet: timedelta = timedelta(0), on_blocks: OnBlocks | None = None) -> int:
        """Seal every block that did not change for so long; return how many were worked on."""
        async with self._database.session() as session:
            intervals = await PriceBlockRepository(session).open_intervals(quiet)
        sealed = 0
        for interval in intervals:
            after = (0, 0)
            while blocks := await self._next(interval, quiet, after):
                sealed += len(blocks)
                after = blocks[-1].series_id, blocks[-1].number
                if on_blocks is not None:
                    on_blocks(sealed)
        return sealed

    async def _next(self, interval: Interval, quiet: timedelta, after: tuple[int, int]) -> list[OpenBlock]:
        async with self._database.session() as session:
            index = PriceBlockRepository(session)
            if not await index.lock():
                return []
            blocks = await index.list_open(interval, quiet, limit=_BLOCKS, after=after)
            if blocks:
                columns = await asyncio.to_thread(lambda: [block.columns() for block in blocks])
                await index.seal(blocks, columns)
            return blocks

    async def reindex(self, on_series: OnSeries | None = None) -> int:
        """Count every series from its rows and give its blocks new versions; return the bars there are."""
        async with self._database.session() as session:
            series = await SeriesRepository(session).list_keys()
        bars = 0
        for done, (series_id, interval) in enumerate(series):
            async with self._database.session() as session:
                bars += await PriceBlockRepository(session).recount(interval, series_id)
            if on_series is not None:
                on_series(done + 1, len(series), bars)
        return bars


class BackgroundSealing:
    """Seals again and again while the API is up."""

    def __init__(self, database: Database, quiet: timedelta) -> None:
        self._service = SealingService(database)
        self._quiet = quiet
        self._task = asyncio.create_task(self._run()) if quiet else None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._quiet.total_seconds())
            try:
                await self._service.seal(self._quiet)
            except Exception as error:  # noqa: BLE001 # whatever it was: the next round tries again
                _log.warning("sealing was put off", error=str(error), kind=type(error).__name__)

    async def close(self) -> None:
        """Stop; what is under way is rolled back."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
