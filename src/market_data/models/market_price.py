"""Bars. Two tables of one shape, because storage wants other chunk sizes for minutes than for days."""

from datetime import datetime

from sqlalchemy import CheckConstraint, DateTime, Double
from sqlalchemy.orm import Mapped, mapped_column

from market_data.core.interval import Interval
from market_data.db.base import Base

# NaN sorts above every number in PostgreSQL, so `high < Infinity` refuses it in all four prices at once.
_PRICES = (
    "low > '-Infinity' AND low <= open AND low <= close "
    "AND open <= high AND close <= high AND high < 'Infinity'"
)
# Rates and futures may be zero or negative, so "price > 0" is checked where the asset class is known.
_VOLUME = "volume >= 0 AND volume <> 'Infinity'"


class _MarketPrice:
    """One bar. All columns are NOT NULL: a binary COPY row then has one fixed width."""

    series_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, comment="Its series")
    ts: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), primary_key=True, comment="Start of the bar, UTC"
    )
    open: Mapped[float] = mapped_column(Double, comment="First price")
    high: Mapped[float] = mapped_column(Double, comment="Highest price")
    low: Mapped[float] = mapped_column(Double, comment="Lowest price")
    close: Mapped[float] = mapped_column(Double, comment="Last price")
    volume: Mapped[float] = mapped_column(Double, comment="Quantity traded; NaN where the source has none")
    run_id: Mapped[int] = mapped_column(comment="Ingestion run that wrote this version of the bar")


def _table(comment: str) -> tuple[CheckConstraint | dict[str, str], ...]:
    return (
        CheckConstraint(_PRICES, name="prices_in_order"),
        CheckConstraint(_VOLUME, name="volume_not_negative"),
        {"comment": comment},
    )


class MarketPriceIntraday(_MarketPrice, Base):
    """Bars shorter than a day."""

    __tablename__ = "market_price_intraday"
    __table_args__ = _table("Bars shorter than a day; read v_price")


class MarketPriceDaily(_MarketPrice, Base):
    """Bars of a day, a week or a month."""

    __tablename__ = "market_price_daily"
    __table_args__ = _table("Bars of a day, a week or a month; read v_price")


BAR_TABLES = (MarketPriceIntraday.__tablename__, MarketPriceDaily.__tablename__)


def bar_table(interval: Interval) -> str:
    """Return the table that holds bars of this interval."""
    return BAR_TABLES[0] if interval.is_intraday else BAR_TABLES[1]
