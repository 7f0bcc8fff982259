"""Blocks of series: the version of each, and the column index built from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from market_data.core.bars import Bars
from market_data.core.interval import Interval, Stamps
from market_data.db.column_block import encode
from market_data.db.session import Raw, Session, raw_connection
from market_data.models import bar_table
from market_data.repositories.market_price import BlockSpan
from market_data.repositories.market_price_sql import gathered, read_columns


def block_numbers(interval: Interval, ts: Stamps) -> NDArray[np.int64]:
    """Return the number of the block each bar lies in."""
    numbers: NDArray[np.int64] = ts.view("int64") // (interval.block // timedelta.resolution)
    return numbers


_TOUCH = """
    INSERT INTO price_block (series_id, number, version, updated_at)
    SELECT s.id, f.number, s.version, s.updated_at
    FROM unnest($1::int[], $2::int[]) AS f(series_id, number) JOIN series s ON s.id = f.series_id
    ON CONFLICT (series_id, number) DO UPDATE SET version = excluded.version, updated_at = excluded.updated_at
    """
_TOUCH_SPAN = """
    UPDATE price_block b SET version = s.version, updated_at = s.updated_at
    FROM series s WHERE s.id = $1 AND b.series_id = s.id AND b.number BETWEEN $2 AND $3
    """


async def touch_blocks(raw: Raw, changed: Mapping[int, NDArray[np.int64]]) -> None:
    """Give changed blocks, by series id, the version of their series, whose row the caller has locked."""
    sizes = [len(numbers) for numbers in changed.values()]
    series = np.repeat(list(changed), sizes)
    await raw.execute(_TOUCH, series.tolist(), np.concatenate(list(changed.values())).tolist())


async def touch_span(raw: Raw, series_id: int, span: BlockSpan) -> None:
    """Give all blocks of a span the version of their series, whose row the caller has locked."""
    await raw.execute(_TOUCH_SPAN, series_id, span.first, span.last)


@dataclass(frozen=True, slots=True, eq=False)
class OpenBlock:
    """A block without valid columns, as it was in one moment."""

    series_id: int
    number: int
    version: int
    bars: Bars

    def columns(self) -> bytes:
        """Return its bars as the column index holds them."""
        return encode(self.bars)


_SEALING = 0x6D64_0003
"""Advisory lock ("md", purpose 3): one process seals at a time, for two would do the same work."""
_LOCK = "SELECT pg_try_advisory_xact_lock($1)"
_OPEN = """
    b.sealed_version IS DISTINCT FROM b.version
    AND ($1::interval = '0' OR b.updated_at <= clock_timestamp() - $1::interval)
    """
_INTERVALS = f"""
    SELECT DISTINCT s.interval FROM price_block b JOIN series s ON s.id = b.series_id WHERE {_OPEN}
    """  # noqa: S608 # nothing but our own words
_SEAL = """
    WITH f AS (SELECT * FROM unnest($1::int[], $2::int[], $3::bigint[], $4::bytea[])
               AS f(series_id, number, version, columns)),
    free AS (SELECT b.series_id, b.number FROM price_block b JOIN f USING (series_id, number, version)
             FOR UPDATE OF b SKIP LOCKED)  -- waiting for a writer, who may wait for us, would be a deadlock
    UPDATE price_block b SET sealed_version = f.version, columns = f.columns
    FROM f JOIN free USING (series_id, number)
    WHERE b.series_id = f.series_id AND b.number = f.number AND b.version = f.version
    """


def _open_query(table: str) -> str:
    """Build the statement that reads blocks behind ($3, $4) of an interval $2 of length $5, $6 at most."""
    return f"""
        SELECT b.series_id, b.number, b.version, r.*
        FROM (
            SELECT b.series_id, b.number, b.version FROM price_block b JOIN series s ON s.id = b.series_id
            WHERE {_OPEN} AND s.interval = $2 AND (b.series_id, b.number) > ($3::int, $4::int)
            ORDER BY b.series_id, b.number LIMIT $6
        ) b
        CROSS JOIN LATERAL (
            SELECT {gathered()} FROM (
                SELECT * FROM {table} m
                WHERE m.series_id = b.series_id AND m.ts >= 'epoch'::timestamptz + b.number * $5::interval
                    AND m.ts < 'epoch'::timestamptz + (b.number + 1) * $5::interval
                ORDER BY ts
            ) found
        ) r
        ORDER BY b.series_id, b.number
        """  # noqa: S608 # nothing but our own names


def _recount_sql(table: str) -> tuple[str, str]:
    """Build the statements that count a series $1 anew and find its blocks, of length $2."""
    figures = f"""
        UPDATE series SET (bar_count, first_ts, last_ts)
            = (SELECT count(*), min(ts), max(ts) FROM {table} WHERE series_id = $1),
            version = version + 1, updated_at = next_second(updated_at)
        WHERE id = $1
        RETURNING bar_count
        """  # noqa: S608 # the table is one of ours
    blocks = f"""
        SELECT DISTINCT floor(extract(epoch FROM ts) / extract(epoch FROM $2::interval))::int
        FROM {table} WHERE series_id = $1
        UNION SELECT number FROM price_block WHERE series_id = $1
        """  # noqa: S608 # the table is one of ours
    return figures, blocks


class PriceBlockRepository:
    """Keeps the column index, inside the caller's transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def _raw(self) -> Raw:
        return await raw_connection(await self._session.connection())

    async def lock(self) -> bool:
        """Take the lock of sealing until the transaction ends; False when another process has it."""
        held: bool = await (await self._raw()).fetchval(_LOCK, _SEALING)
        return held

    async def open_intervals(self, quiet: timedelta) -> list[Interval]:
        """Return the intervals with blocks that are not sealed and did not change for so long."""
        rows = await (await self._raw()).fetch(_INTERVALS, quiet)
        return sorted(Interval(row[0]) for row in rows)

    async def list_open(
        self, interval: Interval, quiet: timedelta, *, limit: int, after: tuple[int, int]
    ) -> list[OpenBlock]:
        """Return such blocks with their bars, in order of series and number, behind the key `after`."""
        query = _open_query(bar_table(interval))
        rows = await (await self._raw()).fetch(query, quiet, str(interval), *after, interval.block, limit)
        return [OpenBlock(r[0], r[1], r[2], read_columns(r[3:])) for r in rows]

    async def seal(self, blocks: Sequence[OpenBlock], columns: Sequence[bytes]) -> None:
        """Store the columns of blocks, but of those that changed meanwhile."""
        keys = [(b.series_id, b.number, b.version) for b in blocks]
        await (await self._raw()).execute(_SEAL, *(list(part) for part in zip(*keys, strict=True)), columns)

    async def recount(self, interval: Interval, series_id: int) -> int:
        """Count a series from its rows and give all its blocks a new version; return the bars it has."""
        raw = await self._raw()
        await raw.execute("SELECT FROM series WHERE id = $1 FOR NO KEY UPDATE", series_id)
        figures, blocks = _recount_sql(bar_table(interval))
        count: int = await raw.fetchval(figures, series_id) or 0
        numbers = [row[0] for row in await raw.fetch(blocks, series_id, interval.block)]
        await touch_blocks(raw, {series_id: np.array(numbers, "int64")})
        return count
