"""Bars in: one writer. It reads what is stored where new bars fall, and writes only the difference.

Measured against COPY to a staging table and MERGE: faster for new bars and three times faster for unchanged
ones, and the counts are exact because the series' row locks keep every other writer out.
"""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncSession

from market_data.core.bars import PRICES, Bars
from market_data.core.exceptions import ConcurrentChange
from market_data.core.interval import Basis, Interval
from market_data.db.binary_copy import HEADER, TRAILER, RowFormat
from market_data.db.session import Raw, raw_connection
from market_data.models import bar_table
from market_data.repositories.market_price import BlockSpan, SeriesRange, read_bars
from market_data.repositories.price_block import Change, block_numbers, touch_blocks, touch_span

_COLUMNS = ["series_id", "ts", *PRICES, "volume", "run_id"]
_FORMAT = RowFormat("int4", "timestamptz", "float8", "float8", "float8", "float8", "float8", "int4")
_GAP = 64
"""Bars further apart than this many intervals are looked up separately: few rows never read much history."""


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


@dataclass(frozen=True, slots=True, eq=False)
class _Difference:
    """One series' incoming bars, split by what is stored."""

    series_id: int
    new: Bars
    changed: Bars
    unchanged: int

    def blocks(self, interval: Interval) -> NDArray[np.int64]:
        """Return the numbers of the blocks that are written to."""
        return np.unique(block_numbers(interval, np.concatenate((self.new.ts, self.changed.ts))))

    @property
    def counts(self) -> WriteCounts:
        return WriteCounts(len(self.new), len(self.changed), self.unchanged)


class BarWriter:
    """Writes bars inside the caller's transaction; nothing is visible before its commit."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def _raw(self) -> Raw:
        return await raw_connection(await self._session.connection())

    async def upsert(self, batch: Mapping[SeriesKey, Bars], run_id: int) -> WriteCounts:
        """Insert new bars, update different ones, leave equal ones untouched.

        The bars of each series must be valid, sorted by ts and free of duplicates. Locks the series' rows, in
        id order, until the transaction ends.
        """
        raw = await self._raw()
        ids = await self._lock(raw, sorted(batch))
        counts = WriteCounts()
        for interval in {key.interval for key in batch}:
            wanted = {ids[key]: bars for key, bars in batch.items() if key.interval is interval}
            stored = await _stored(raw, interval, wanted)
            differences = [_compare(i, bars, stored[i]) for i, bars in sorted(wanted.items())]
            await _insert(raw, bar_table(interval), differences, run_id)
            await _update(raw, bar_table(interval), differences, run_id)
            await _keep_figures(raw, interval, differences)
            counts = sum((d.counts for d in differences), counts)
        return counts

    async def _lock(self, raw: Raw, keys: Sequence[SeriesKey]) -> dict[SeriesKey, int]:
        """Create missing series and lock all of them, in one order for everybody."""
        columns = [
            [key.instrument_id for key in keys],
            *([str(getattr(key, name)) for key in keys] for name in ("interval", "source", "basis")),
        ]
        await raw.execute(_CREATE_SERIES, *columns)
        rows = await raw.fetch(_LOCK_SERIES, *columns)
        if len(rows) < len(keys):
            raise ConcurrentChange("a series was deleted meanwhile; nothing was stored, repeat it")
        return {
            SeriesKey(r["instrument_id"], Interval(r["interval"]), r["source"], Basis(r["basis"])): r["id"]
            for r in rows
        }

    async def delete(
        self, interval: Interval, series_ids: Sequence[int], start: datetime | None, end: datetime | None
    ) -> int:
        """Remove bars from start (inclusive) to end (exclusive) of these series; return how many."""
        raw = await self._raw()
        removed = 0
        for series_id in sorted(series_ids):
            await raw.execute("SELECT FROM series WHERE id = $1 FOR NO KEY UPDATE", series_id)
            status = await raw.execute(_DELETE[bar_table(interval)], series_id, start, end)
            count = int(status.split()[-1])
            if count:
                version = await raw.fetchval(_REFIGURE[bar_table(interval)], series_id, count)
                await touch_span(raw, series_id, version, BlockSpan.of(interval, start, end))
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
    SELECT s.id, s.instrument_id, s.interval, s.source, s.basis
    FROM series s JOIN unnest($1::int[], $2::text[], $3::text[], $4::text[])
        AS k(instrument_id, interval, source, basis) USING (instrument_id, interval, source, basis)
    ORDER BY s.id
    FOR NO KEY UPDATE OF s
    """
_KEEP_FIGURES = """
    UPDATE series s SET
        bar_count = s.bar_count + f.inserted, first_ts = least(s.first_ts, f.first_ts),
        last_ts = greatest(s.last_ts, f.last_ts), version = s.version + 1,
        updated_at = greatest(s.updated_at, clock_timestamp())
    FROM unnest($1::int[], $2::bigint[], $3::timestamptz[], $4::timestamptz[])
        AS f(id, inserted, first_ts, last_ts)
    WHERE s.id = f.id
    RETURNING s.id, s.version
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


def _refigure_sql(table: str) -> str:
    return f"""
        UPDATE series SET
            bar_count = bar_count - $2::bigint,
            first_ts = (SELECT min(ts) FROM {table} WHERE series_id = $1),
            last_ts = (SELECT max(ts) FROM {table} WHERE series_id = $1),
            version = version + 1, updated_at = greatest(updated_at, clock_timestamp())
        WHERE id = $1
        RETURNING version
        """  # noqa: S608 # the table is one of ours


def _apply_sql(table: str) -> str:
    return f"""
        UPDATE {table} b SET open = c.open, high = c.high, low = c.low, close = c.close, volume = c.volume,
            run_id = c.run_id
        FROM changed_bar c WHERE b.series_id = c.series_id AND b.ts = c.ts
        """  # noqa: S608 # the table is one of ours


_TABLES = sorted({bar_table(interval) for interval in Interval})
_DELETE = {table: _delete_sql(table) for table in _TABLES}
_REFIGURE = {table: _refigure_sql(table) for table in _TABLES}
_APPLY = {table: _apply_sql(table) for table in _TABLES}


def _ranges(interval: Interval, series_id: int, ts: NDArray[np.datetime64]) -> Iterable[SeriesRange]:
    """Cover the stamps with ranges that skip long stretches without any."""
    seams = np.flatnonzero(np.diff(ts) > np.timedelta64(_GAP * interval.duration)) + 1
    firsts = ts[np.concatenate(([0], seams))]
    ends = ts[np.concatenate((seams, [len(ts)])) - 1] + np.timedelta64(1, "us")
    for first, end in zip(firsts, ends, strict=True):
        yield SeriesRange(series_id, series_id, _aware(first), _aware(end))


def _aware(stamp: np.datetime64) -> datetime:
    naive: datetime = stamp.astype(datetime)
    return naive.replace(tzinfo=UTC)


async def _stored(raw: Raw, interval: Interval, wanted: Mapping[int, Bars]) -> dict[int, Bars]:
    """Read the stored bars around the incoming ones, by series id."""
    ranges = [r for i, bars in sorted(wanted.items()) if len(bars) for r in _ranges(interval, i, bars.ts)]
    parts: dict[int, list[Bars]] = {series_id: [] for series_id in wanted}
    async for block in read_bars(raw, interval, ranges):
        seams = np.flatnonzero(np.diff(block.position)) + 1
        for first, end in zip([0, *seams], [*seams, len(block.position)], strict=True):
            parts[int(block.position[first])].append(block.bars.take(slice(first, end)))
    return {series_id: Bars.concat(found) for series_id, found in parts.items()}


def _compare(series_id: int, bars: Bars, stored: Bars) -> _Difference:
    """Split incoming bars by the stored ones; both are sorted by ts."""
    place = np.searchsorted(stored.ts, bars.ts)
    known = place < len(stored)
    known[known] = stored.ts[place[known]] == bars.ts[known]
    same, there = bars.take(known), stored.take(place[known])
    differs = np.zeros(len(same), bool)
    for ours, theirs in zip(same.columns()[1:], there.columns()[1:], strict=True):
        differs |= (ours != theirs) & ~(np.isnan(ours) & np.isnan(theirs))
    return _Difference(series_id, bars.take(~known), same.take(differs), int((~differs).sum()))


async def _copy(raw: Raw, table: str, parts: Iterable[tuple[int, Bars]], run_id: int) -> None:
    async def pieces() -> AsyncGenerator[bytes]:
        yield HEADER
        for series_id, bars in parts:
            n = len(bars)
            yield _FORMAT.encode(np.full(n, series_id, "int32"), *bars.columns(), np.full(n, run_id, "int32"))
        yield TRAILER

    await raw.copy_to_table(table, source=pieces(), columns=_COLUMNS, format="binary")


async def _insert(raw: Raw, table: str, differences: Sequence[_Difference], run_id: int) -> None:
    new = [(d.series_id, d.new) for d in differences if len(d.new)]
    if new:
        await _copy(raw, table, new, run_id)


async def _update(raw: Raw, table: str, differences: Sequence[_Difference], run_id: int) -> None:
    changed = [(d.series_id, d.changed) for d in differences if len(d.changed)]
    if changed:
        await raw.execute(_STAGING)
        await raw.execute("TRUNCATE changed_bar")
        await _copy(raw, "changed_bar", changed, run_id)
        await raw.execute(_APPLY[table])


async def _keep_figures(raw: Raw, interval: Interval, differences: Sequence[_Difference]) -> None:
    """Count what was written, and give the series and the blocks it lies in their new version."""
    touched = {d.series_id: d for d in differences if len(d.new) or len(d.changed)}
    if not touched:
        return
    versions = await raw.fetch(
        _KEEP_FIGURES,
        list(touched),
        [len(d.new) for d in touched.values()],
        [_aware(d.new.ts[0]) if len(d.new) else None for d in touched.values()],
        [_aware(d.new.ts[-1]) if len(d.new) else None for d in touched.values()],
    )
    await touch_blocks(raw, [Change(i, version, touched[i].blocks(interval)) for i, version in versions])
