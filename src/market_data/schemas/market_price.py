"""Bars over the wire, as documentation: answers are encoded from columns and never pass through these."""

from datetime import datetime

from pydantic import BaseModel, Field

from market_data.core.interval import Basis, Interval
from market_data.core.vocabulary import SymbolStatus


class BarRead(BaseModel):
    """One bar: what changes from row to row."""

    symbol: str = Field(description="As it was asked; the id where instrument_ids were asked.")
    ts: datetime = Field(description="Start of the bar, UTC.")
    open: float
    high: float
    low: float
    close: float
    volume: float | None


class SymbolRead(BaseModel):
    """What holds for all bars of one symbol."""

    status: SymbolStatus
    count: int = Field(description="Rows of it on this page.")
    instrument_id: int | None
    exchange: str | None
    currency: str | None
    interval: Interval
    source: str | None
    basis: Basis | None
    derived_from: Interval | None = Field(
        description="The interval whose bars these were made of; null where they are stored."
    )


class PricesRead(BaseModel):
    """Bars as objects."""

    data: list[BarRead]
    symbols: dict[str, SymbolRead]
    next_page_token: str | None


class BarColumnsRead(BaseModel):
    """Bars as columns of one length."""

    symbol: list[str]
    ts: list[datetime]
    open: list[float]
    high: list[float]
    low: list[float]
    close: list[float]
    volume: list[float | None]


class PriceColumnsRead(BaseModel):
    """Bars as columns, with what holds for each symbol."""

    data: BarColumnsRead
    symbols: dict[str, SymbolRead]
    next_page_token: str | None
