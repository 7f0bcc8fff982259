"""Instruments over the wire."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from market_data.core.vocabulary import AssetClass
from market_data.schemas.fields import Currency, Exchange, Figi, Isin, Symbol, Text, TimeZone
from market_data.schemas.patch import MergePatch


class InstrumentCreate(BaseModel):
    """A new instrument."""

    model_config = ConfigDict(extra="forbid")

    symbol: Symbol
    exchange: Exchange
    asset_class: AssetClass
    currency: Currency
    name: Text | None = None
    isin: Isin | None = None
    figi: Figi | None = None
    timezone: TimeZone = "UTC"
    active: bool = True


class InstrumentUpdate(MergePatch):
    """A merge patch (RFC 7396): what is absent stays, null empties name, isin and figi."""

    kept = ("symbol", "exchange", "asset_class", "currency", "timezone", "active")

    symbol: Symbol | None = None
    exchange: Exchange | None = None
    asset_class: AssetClass | None = None
    currency: Currency | None = None
    name: Text | None = None
    isin: Isin | None = None
    figi: Figi | None = None
    timezone: TimeZone | None = None
    active: bool | None = None


class InstrumentRead(BaseModel):
    """A stored instrument."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    symbol: str
    exchange: str
    asset_class: AssetClass
    currency: str
    name: str | None
    isin: str | None
    figi: str | None
    timezone: str
    active: bool
    created_at: datetime
    updated_at: datetime
