"""Instruments over the wire."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

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


_EVERY_HAS = ("symbol", "exchange", "asset_class", "currency", "timezone", "active")


def _without_null(schema: dict[str, Any]) -> None:
    """Say in the schema that what every instrument has cannot be emptied."""
    for name in _EVERY_HAS:
        told = schema["properties"][name]
        kept = [one for one in told.pop("anyOf") if one != {"type": "null"}]
        told.pop("default")
        told |= kept[0]


class InstrumentUpdate(BaseModel):
    """A merge patch (RFC 7396): what is absent stays, null empties name, isin and figi."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_without_null)

    symbol: Symbol | None = None
    exchange: Exchange | None = None
    asset_class: AssetClass | None = None
    currency: Currency | None = None
    name: Text | None = None
    isin: Isin | None = None
    figi: Figi | None = None
    timezone: TimeZone | None = None
    active: bool | None = None

    @field_validator(*_EVERY_HAS, mode="before")
    @classmethod
    def _stays(cls, value: object) -> object:
        if value is None:
            raise ValueError("cannot be null")
        return value


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
