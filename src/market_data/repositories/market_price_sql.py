"""The statements that read bars, and how the columns they gather are read."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from market_data.core.bars import Bars
from market_data.core.vocabulary import SortOrder
from market_data.db.binary_copy import read_column

_COLUMNS = ("ts", "open", "high", "low", "close", "volume")


def gathered() -> str:
    """Write the expressions that gather bars as one value per column, for `read_columns`."""
    sends = ["timestamptz_send", *["float8send"] * (len(_COLUMNS) - 1)]
    return ", ".join(f"string_agg({send}({c}), '')" for send, c in zip(sends, _COLUMNS, strict=True))


def read_columns(values: Sequence[Any]) -> Bars:
    """Read gathered bars; all values are None where there are no bars."""
    ts, *floats = values
    if ts is None:
        return Bars.empty()
    return Bars(read_column("timestamptz", ts), *(read_column("float8", column) for column in floats))


@cache
def blocks_query(table: str, sort: SortOrder) -> str:
    """Build the statement of a batch: ranges as arrays $1 to $6, length of a block $7, blocks $8, rows $9."""
    return f"""
        SELECT w.place, b.number, b.columns,
            (SELECT version FROM series s WHERE s.id = w.series_id) AS version, r.*
        FROM unnest($1::int[], $2::int[], $3::timestamptz[], $4::timestamptz[], $5::int[], $6::int[])
            AS w(place, series_id, lower, upper, first, last)
        CROSS JOIN LATERAL (
            SELECT number, CASE WHEN sealed_version = version THEN columns END AS columns FROM price_block p
            WHERE p.series_id = w.series_id AND p.number >= w.first AND p.number <= w.last
            ORDER BY number {sort.value} LIMIT $8
        ) b
        CROSS JOIN LATERAL (
            SELECT {gathered()} FROM (
                SELECT {", ".join(_COLUMNS)} FROM {table} m
                WHERE b.columns IS NULL AND m.series_id = w.series_id
                    AND m.ts >= greatest(w.lower, 'epoch'::timestamptz + b.number * $7::interval)
                    AND m.ts < least(w.upper, 'epoch'::timestamptz + (b.number + 1) * $7::interval)
                ORDER BY ts {sort.value} LIMIT $9
            ) found
        ) r
        LIMIT $8
        """  # noqa: S608 # nothing but our own names


@cache
def latest_query(table: str) -> str:
    """Build the statement of newest bars: positions $1, series $2, each before an instant $3 if any."""
    return f"""
        SELECT string_agg(int4send(position), ''), {gathered()}
        FROM (
            SELECT w.position, b.*
            FROM unnest($1::int[], $2::int[], $3::timestamptz[]) AS w(position, series_id, upper)
            JOIN series s ON s.id = w.series_id
            CROSS JOIN LATERAL (
                SELECT {", ".join(_COLUMNS)} FROM {table} p
                WHERE p.series_id = s.id AND p.ts <= s.last_ts  -- hypertables then skip the chunks behind
                    AND p.ts < coalesce(w.upper, 'infinity')
                ORDER BY ts DESC LIMIT 1
            ) b
        ) found
        """  # noqa: S608 # nothing but our own names
