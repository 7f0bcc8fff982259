"""What is stored, over the wire."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from market_data.core.interval import Basis, Interval


class SeriesRead(BaseModel):
    """Bars of one instrument, interval, source and basis."""

    model_config = ConfigDict(from_attributes=True)

    instrument_id: int
    symbol: str
    exchange: str
    interval: Interval
    source: str
    basis: Basis
    first: datetime = Field(description="Start of the earliest bar.")
    last: datetime = Field(description="Start of the latest bar.")
    count: int = Field(description="Bars stored.")
    updated: datetime = Field(description="When its bars last changed.")
