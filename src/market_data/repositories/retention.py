"""Bars that are older than wanted: whole chunks go at once, the rest row by row."""

from collections.abc import Sequence
from datetime import datetime

from market_data.core.interval import Interval
from market_data.db.session import Raw, Session, raw_connection
from market_data.db.storage import read_storage
from market_data.models import bar_table
from market_data.repositories.market_price import BlockSpan
from market_data.repositories.market_price_writer import refigure_sql
from market_data.repositories.price_block import touch_span

_EDGE = """
    SELECT max(range_end) FROM timescaledb_information.chunks
    WHERE hypertable_schema = current_schema() AND hypertable_name = $1 AND range_end <= $2
    """
_LOCK = "SELECT id, interval FROM series WHERE interval = ANY($1::text[]) ORDER BY id FOR NO KEY UPDATE"
_OTHERS = """
    SELECT EXISTS (SELECT FROM series WHERE id <> ALL($1::int[]) AND id = ANY($2::int[]))
    """
_PATIENCE = "SET LOCAL lock_timeout = '5s'"  # while it waits for a reader, everybody else waits for it
_DROP = "SELECT drop_chunks($1::text::regclass, older_than => $2::timestamptz)"
_OLD_SERIES = "SELECT id FROM series WHERE interval = $1 AND first_ts < $2 ORDER BY id"


def _count_sql(table: str) -> str:
    return f"SELECT series_id, count(*) FROM {table} WHERE ts < $1 GROUP BY series_id"  # noqa: S608 # our own table


def _count_old_sql(table: str) -> str:
    return f"""
        SELECT count(*) FROM {table} p JOIN series s ON s.id = p.series_id
        WHERE s.interval = $1 AND p.ts < $2
        """  # noqa: S608 # our own table


class RetentionRepository:
    """Finds and removes old bars, inside the caller's transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def _raw(self) -> Raw:
        return await raw_connection(await self._session.connection())

    async def count(self, interval: Interval, before: datetime) -> int:
        """Return how many bars of an interval are older."""
        found: int = await (await self._raw()).fetchval(_count_old_sql(bar_table(interval)), interval, before)
        return found

    async def old_series(self, interval: Interval, before: datetime) -> list[int]:
        """Return the series of an interval that have older bars."""
        return [row[0] for row in await (await self._raw()).fetch(_OLD_SERIES, interval, before)]

    async def drop_chunks(self, intervals: Sequence[Interval], before: datetime) -> dict[Interval, int]:
        """Drop the chunks that hold only older bars, of these intervals of one table; return what they held.

        The figures, versions and blocks of the series follow, so that readers see it as a deletion. Nothing
        is dropped where bars of other series came meanwhile.

        Raises:
            asyncpg.LockNotAvailableError: the chunks are in use.

        """
        raw, table = await self._raw(), bar_table(intervals[0])
        if table not in (await read_storage(raw)).hypertables:
            return {}
        edge = await raw.fetchval(_EDGE, table, before)
        if edge is None:
            return {}
        await raw.execute(_PATIENCE)
        of_series = {row[0]: Interval(row[1]) for row in await raw.fetch(_LOCK, list(intervals))}
        await raw.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")  # nor bars of new series
        counts = {row[0]: row[1] for row in await raw.fetch(_count_sql(table), edge)}
        if await raw.fetchval(_OTHERS, list(of_series), list(counts)):
            return {}
        await raw.execute(_DROP, table, edge)
        await raw.execute(refigure_sql(table), list(counts), list(counts.values()))
        gone = dict.fromkeys(intervals, 0)
        for series_id in sorted(of_series.keys() & counts.keys()):
            interval = of_series[series_id]
            gone[interval] += counts[series_id]
            await touch_span(raw, series_id, BlockSpan.of(interval, None, edge))
        return gone
