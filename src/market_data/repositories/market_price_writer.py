"""Bars in: one writer. It reads what is stored where new bars fall, and writes only the difference.

Measured against COPY to a staging table and MERGE: faster for new bars and three times faster for unchanged
ones, and the counts are exact because the series' row locks keep every other writer out.
"""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg
import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from market_data.core.bars import PRICES, Bars
from market_data.core.exceptions import ConcurrentChange
from market_data.core.interval import Basis, Interval, aware, stamp
from market_data.db.binary_copy import HEADER, TRAILER, RowFormat
from market_data.db.session import Raw, raw_connection
from market_data.models import bar_table
from market_data.repositories.market_price import BlockSpan
from market_data.repositories.price_block import touch_blocks, touch_span
from market_data.repositories.price_difference import (
    Difference,
    LockedSeries,
    compare,
    read_stored,
)

_COLUMNS = ["series_id", "ts", *PRICES, "volume", "run_id"]
_FORMAT = RowFormat("int4", "timestamptz", "float8", "float8", "float8", "float8", "float8", "int4")
_SPILLING = 30_000
"""Rows whose copies, which a trigger of the table is shown, no longer fit the usual `work_mem`: on disk they
make COPY some 4 % slower."""


@dataclass(frozen=True, slots=True, order=True)
class SeriesKey:
    """What makes a series."""

    instrument_id: int
    interval: Interval
    source: str
    basis: Basis


@dataclass(slots=True)
class WriteCounts:
    """What became of bars; adds up."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0

    def __add__(self, other: "WriteCounts") -> "WriteCounts":
        return WriteCounts(
            self.inserted + other.inserted, self.updated + other.updated, self.unchanged + other.unchanged
        )


class BarWriter:
    """Writes bars inside the caller's transaction; nothing is visible before its commit."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session
        self._raw_connection: Raw | None = None
        self._locked: dict[SeriesKey, LockedSeries] = {}
        self._roomy = False

    async def _raw(self) -> Raw:
        if self._raw_connection is None:
            self._raw_connection = await raw_connection(await self._session.connection())
        return self._raw_connection

    async def upsert(self, batch: Mapping[SeriesKey, Bars], run_id: int) -> WriteCounts:
        """Insert new bars, update different ones, leave equal ones untouched.

        The bars of each series must be valid, sorted by ts and free of duplicates. Locks the series' rows, in
        id order, until the transaction ends.
        """
        raw = await self._raw()
        await self._lock(raw, sorted(batch.keys() - self._locked.keys()))
        await self._make_room(raw, sum(map(len, batch.values())))
        counts = WriteCounts()
        for interval in {key.interval for key in batch}:
            wanted = [(self._locked[key], batch[key]) for key in batch if key.interval is interval]
            wanted.sort(key=lambda one: one[0].id)
            stored = await read_stored(raw, interval, wanted)
            differences = [compare(series, bars, stored[series.id]) for series, bars in wanted]
            await _insert(raw, bar_table(interval), differences, run_id)
            await _update(raw, bar_table(interval), differences, run_id)
            await _keep_figures(raw, interval, differences)
            counts = sum((_counts(d) for d in differences), counts)
        return counts

    async def series_id(self, key: SeriesKey) -> int:
        """Return the id of a series, making it where it is not, and lock it until the transaction ends."""
        if key not in self._locked:
            await self._lock(await self._raw(), [key])
        return self._locked[key].id

    async def _lock(self, raw: Raw, keys: Sequence[SeriesKey]) -> None:
        """Create missing series and lock all of them, in one order for everybody."""
        if not keys:
            return
        columns = [
            [key.instrument_id for key in keys],
            *([str(getattr(key, name)) for key in keys] for name in ("interval", "source", "basis")),
        ]
        await raw.execute(_CREATE_SERIES, *columns)
        rows = await raw.fetch(_LOCK_SERIES, *columns)
        if len(rows) < len(keys):
            raise ConcurrentChange("a series was deleted meanwhile; nothing was stored, repeat it")
        for series_id, instrument_id, interval, source, basis, last in rows:
            key = SeriesKey(instrument_id, Interval(interval), source, Basis(basis))
            self._locked[key] = LockedSeries(series_id, stamp(last))

    async def _make_room(self, raw: Raw, rows: int) -> None:
        if rows > _SPILLING and not self._roomy:
            await raw.execute("SET LOCAL work_mem = '32MB'")
            self._roomy = True

    async def delete(
        self, interval: Interval, series_ids: Sequence[int], start: datetime | None, end: datetime | None
    ) -> int:
        """Remove bars from start (inclusive) to end (exclusive) of these series; return how many."""
        raw = await self._raw()
        self._locked.clear()  # the last of the series may change
        removed = 0
        for series_id in sorted(series_ids):
            await raw.execute("SELECT FROM series WHERE id = $1 FOR NO KEY UPDATE", series_id)
            status = await raw.execute(_DELETE[bar_table(interval)], series_id, start, end)
            count = int(status.split()[-1])
            if count:
                await raw.execute(_REFIGURE[bar_table(interval)], [series_id], [count])
                await touch_span(raw, series_id, BlockSpan.of(interval, start, end))
            removed += count
        return removed


_CREATE_SERIES = """
    INSERT INTO series (instrument_id, interval, source, basis)
    SELECT k.* FROM unnest($1::int[], $2::text[], $3::text[], $4::text[])
        AS k(instrument_id, interval, source, basis)
    WHERE NOT EXISTS (SELECT FROM series s WHERE (s.instrument_id, s.interval, s.source, s.basis)
                      = (k.instrument_id, k.interval, k.source, k.basis))
    ORDER BY k.instrument_id, k.interval, k.source, k.basis
    ON CONFLICT DO NOTHING
    """
_LOCK_SERIES = """
    SELECT s.id, s.instrument_id, s.interval, s.source, s.basis, s.last_ts
    FROM series s JOIN unnest($1::int[], $2::text[], $3::text[], $4::text[])
        AS k(instrument_id, interval, source, basis) USING (instrument_id, interval, source, basis)
    ORDER BY s.id
    FOR NO KEY UPDATE OF s
    """
_KEEP_FIGURES = """
    UPDATE series s SET
        bar_count = s.bar_count + f.inserted, first_ts = least(s.first_ts, f.first_ts),
        last_ts = greatest(s.last_ts, f.last_ts), version = s.version + 1,
        updated_at = next_second(s.updated_at)
    FROM unnest($1::int[], $2::bigint[], $3::timestamptz[], $4::timestamptz[])
        AS f(id, inserted, first_ts, last_ts)
    WHERE s.id = f.id
    """
_STAGING = """
    CREATE TEMP TABLE IF NOT EXISTS changed_bar (
        series_id int, ts timestamptz, open float8, high float8, low float8, close float8, volume float8,
        run_id int
    ) ON COMMIT DROP
    """


def _delete_sql(table: str) -> str:
    return f"""
        DELETE FROM {table}
        WHERE series_id = $1
            AND ts >= coalesce($2::timestamptz, '-infinity') AND ts < coalesce($3::timestamptz, 'infinity')
        """  # noqa: S608 # the table is one of ours


def refigure_sql(table: str) -> str:
    """Build the statement that takes bars ($2: how many) off the figures of locked series ($1).

    Where SQL wrote past the program the figures are not those of the bars: then they are counted anew.
    """
    return f"""
        UPDATE series s SET
            bar_count = CASE WHEN there.last IS NULL THEN 0
                WHEN s.bar_count > f.gone THEN s.bar_count - f.gone
                ELSE (SELECT count(*) FROM {table} p WHERE p.series_id = s.id) END,
            first_ts = there.first, last_ts = there.last,
            version = s.version + 1, updated_at = next_second(s.updated_at)
        FROM unnest($1::int[], $2::bigint[]) AS f(id, gone)
        CROSS JOIN LATERAL (
            SELECT (SELECT min(ts) FROM {table} p WHERE p.series_id = f.id),
                (SELECT max(ts) FROM {table} p WHERE p.series_id = f.id)
            OFFSET 0  -- asked once, however often it is spoken of
        ) AS there(first, last)
        WHERE s.id = f.id
        """  # noqa: S608 # the table is one of ours


def _apply_sql(table: str) -> str:
    return f"""
        UPDATE {table} b SET open = c.open, high = c.high, low = c.low, close = c.close, volume = c.volume,
            run_id = c.run_id
        FROM changed_bar c WHERE b.series_id = c.series_id AND b.ts = c.ts
        """  # noqa: S608 # the table is one of ours


_TABLES = sorted({bar_table(interval) for interval in Interval})
_DELETE = {table: _delete_sql(table) for table in _TABLES}
_REFIGURE = {table: refigure_sql(table) for table in _TABLES}
_APPLY = {table: _apply_sql(table) for table in _TABLES}


def _counts(found: Difference) -> WriteCounts:
    return WriteCounts(len(found.new), len(found.changed), found.unchanged)


async def _copy(raw: Raw, table: str, parts: Iterable[tuple[int, Bars]], run_id: int) -> None:
    async def pieces() -> AsyncGenerator[bytes]:
        yield HEADER
        for series_id, bars in parts:
            for piece in _FORMAT.pieces(len(bars), series_id, *bars.columns(), run_id):
                yield piece
        yield TRAILER

    await raw.copy_to_table(table, source=pieces(), columns=_COLUMNS, format="binary")


async def _insert(raw: Raw, table: str, differences: Sequence[Difference], run_id: int) -> None:
    new = [(d.series.id, d.new) for d in differences if len(d.new)]
    if not new:
        return
    try:
        await _copy(raw, table, new, run_id)
    except asyncpg.UniqueViolationError as error:  # behind the last bar, as far as the series' figures tell
        raise ConcurrentChange("bars were written past this program: run `market-data db reindex`") from error


async def _update(raw: Raw, table: str, differences: Sequence[Difference], run_id: int) -> None:
    changed = [(d.series.id, d.changed) for d in differences if len(d.changed)]
    if changed:
        await raw.execute(_STAGING)
        await raw.execute("TRUNCATE changed_bar")
        await _copy(raw, "changed_bar", changed, run_id)
        await raw.execute(_APPLY[table])


async def _keep_figures(raw: Raw, interval: Interval, differences: Sequence[Difference]) -> None:
    """Count what was written, and give the series and the blocks it lies in their new version."""
    touched = {d.series.id: d for d in differences if len(d.new) or len(d.changed)}
    if not touched:
        return
    await raw.execute(
        _KEEP_FIGURES,
        list(touched),
        [len(d.new) for d in touched.values()],
        [aware(d.new.ts[0]) if len(d.new) else None for d in touched.values()],
        [aware(d.new.ts[-1]) if len(d.new) else None for d in touched.values()],
    )
    for d in touched.values():
        if len(d.new):
            d.series.last = np.fmax(d.series.last, d.new.ts[-1])
    await touch_blocks(raw, {i: d.blocks(interval) for i, d in touched.items()})
