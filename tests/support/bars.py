"""Bars straight into and out of the tables, past services and HTTP."""

from datetime import UTC, datetime, timedelta

import numpy as np
from sqlalchemy import text

from market_data.core.bars import Bars
from market_data.repositories.market_price_writer import BarWriter, WriteCounts

DAY = timedelta(days=1)
START = datetime(2000, 1, 1, tzinfo=UTC)


def bars(rows: dict[datetime, float], volume: float = 1.0) -> Bars:
    """Flat bars by start, in order of time."""
    stamps = sorted(rows)
    closes = np.array([rows[stamp] for stamp in stamps], "float64")
    ts = np.array([stamp.replace(tzinfo=None) for stamp in stamps], "datetime64[us]")
    return Bars(ts, closes, closes, closes, closes, np.full(len(stamps), volume))


def day(number: int) -> datetime:
    return START + number * DAY


async def add_instruments(database, count=1) -> list[int]:
    async with database.session() as session:
        found = await session.execute(
            text(
                "INSERT INTO instrument (symbol, exchange, asset_class, currency) "
                "SELECT 'S' || n, 'X', 'equity', 'USD' FROM generate_series(1, :count) n RETURNING id"
            ),
            {"count": count},
        )
        return list(found.scalars())


async def upsert(database, batch, run_id=1) -> WriteCounts:
    async with database.session() as session:
        return await BarWriter(session).upsert(batch, run_id)


async def fetch(database, query: str, **values):
    async with database.connection() as connection:
        return [tuple(row) for row in await connection.execute(text(query), values)]


async def assert_figures_recount(database) -> None:
    """The figures each series carries are those of its bars, counted anew."""
    wrong = await fetch(
        database,
        """
        SELECT s.id, s.bar_count, count(p.ts), s.first_ts, min(p.ts), s.last_ts, max(p.ts) FROM series s
        LEFT JOIN (SELECT series_id, ts FROM market_price_daily
                   UNION ALL SELECT series_id, ts FROM market_price_intraday) p ON p.series_id = s.id
        GROUP BY s.id
        HAVING (s.bar_count, s.first_ts, s.last_ts) IS DISTINCT FROM (count(p.ts), min(p.ts), max(p.ts))
        """,
    )
    assert wrong == []
