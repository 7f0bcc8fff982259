"""What one would write first: FastAPI, async SQLAlchemy ORM and response_model, over the same tables.

Run by the benchmark with `uvicorn benchmarks.naive:app`; DATABASE_URL says where.
"""

import os
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from market_data.db.session import engine_url
from market_data.models import Instrument, MarketPriceIntraday, Series

app = FastAPI()
_sessions = async_sessionmaker(create_async_engine(engine_url(os.environ["DATABASE_URL"]), pool_size=20))


class Bar(BaseModel):
    """A row of the answer."""

    model_config = ConfigDict(from_attributes=True)

    ts: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float | None


async def _session() -> AsyncIterator[AsyncSession]:
    async with _sessions() as session:
        yield session


Session = Annotated[AsyncSession, Depends(_session)]


async def _series(session: AsyncSession, symbol: str) -> int:
    query = select(Series.id).join(Instrument, Series.instrument_id == Instrument.id)
    found = await session.scalar(query.where(Instrument.symbol == symbol, Series.interval == "1m"))
    if found is None:
        raise HTTPException(404)
    return found


@app.get("/health/live")
async def get_health() -> dict[str, str]:
    """Tell that the process answers."""
    return {"status": "ok"}


@app.get("/prices", response_model=list[Bar])
async def list_prices(
    session: Session, symbol: str, start: datetime | None = None, limit: int = 1000
) -> list[MarketPriceIntraday]:
    """Return bars."""
    query = select(MarketPriceIntraday).where(MarketPriceIntraday.series_id == await _series(session, symbol))
    if start is not None:
        query = query.where(MarketPriceIntraday.ts >= start)
    return list(await session.scalars(query.order_by(MarketPriceIntraday.ts).limit(limit)))


@app.get("/prices/latest", response_model=Bar)
async def get_latest(session: Session, symbol: str) -> MarketPriceIntraday | None:
    """Return the newest bar."""
    query = select(MarketPriceIntraday).where(MarketPriceIntraday.series_id == await _series(session, symbol))
    return await session.scalar(query.order_by(MarketPriceIntraday.ts.desc()).limit(1))
