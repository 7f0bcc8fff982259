"""Keeps the continuous aggregates of TimescaleDB's full edition at what the stored minutes say."""

import asyncio

import structlog

from market_data.core.interval import Interval
from market_data.db.aggregates import refresh_aggregates
from market_data.db.session import Database
from market_data.repositories.series import SeriesRepository

_EVERY_SECONDS = 2.0
_WITHOUT_SECONDS = 60.0
"""Where there are no aggregates: the database may move into hypertables, and have some then."""

_log = structlog.get_logger(__name__)


class BackgroundAggregates:
    """Refreshes what was written to while the API is up, by this process or another."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        seen: object = None
        while True:
            pause = _EVERY_SECONDS
            try:
                changed = await self._changed()
                if changed != seen:
                    if await refresh_aggregates(self._database):
                        seen = changed
                    else:
                        pause = _WITHOUT_SECONDS
            except Exception as error:  # noqa: BLE001 # whatever it was: the next round tries again
                _log.warning("aggregates were not refreshed", error=str(error), kind=type(error).__name__)
            await asyncio.sleep(pause)

    async def _changed(self) -> object:
        """Return what is another thing after every change of stored minutes."""
        async with self._database.session() as session:
            return await SeriesRepository(session).versions(Interval.M1)

    async def close(self) -> None:
        """Stop; what is under way is rolled back, and done by the next one."""
        self._task.cancel()
        await asyncio.wait({self._task})
