"""Instruments over the wire."""

from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

from market_data.core.vocabulary import AssetClass
from market_data.schemas.fields import Currency, Exchange, Figi, Isin, Symbol, Text, TimeZone


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


class InstrumentUpdate(BaseModel):
    """A merge patch (RFC 7396): what is absent stays, null empties name, isin and figi."""

    model_config = ConfigDict(extra="forbid")

    symbol: Symbol | None = None
    exchange: Exchange | None = None
    asset_class: AssetClass | None = None
    currency: Currency | None = None
    name: Text | None = None
    isin: Isin | None = None
    figi: Figi | None = None
    timezone: TimeZone | None = None
    active: bool | None = None

    @model_validator(mode="after")
    def _required_stay(self) -> Self:
        for field in self.model_fields_set - {"name", "isin", "figi"}:
            if getattr(self, field) is None:
                raise ValueError(f"{field} cannot be null")
        return self


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
