"""What is known of stored series, over the wire."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator

from market_data.core.interval import Basis, Interval
from market_data.core.vocabulary import CoverageState
from market_data.schemas.fields import Id, IntervalText, Source, SymbolName
from market_data.schemas.subscription import ProviderName


class StretchRead(BaseModel):
    """A stretch of a series of which one thing is known."""

    model_config = ConfigDict(from_attributes=True)

    state: CoverageState
    start: datetime = Field(description="Start of its first bar.")
    end: datetime = Field(description="End of its last bar.")
    bars: int = Field(description="Bars it has, or should have.")


class CoverageCounts(BaseModel):
    """Bars by what is known of them."""

    present: int
    no_trade: int = Field(description="Their source was asked and has nothing there.")
    missing: int = Field(description="They are expected, and nobody knows why they are not there.")
    failed: int = Field(description="Their source was asked and gave no usable answer.")
    not_yet: int = Field(description="They are not final yet.")


class CoverageRead(BaseModel):
    """What is known of a series; time in which nothing is traded belongs to no stretch."""

    series_id: int
    instrument_id: int
    symbol: str
    exchange: str
    interval: Interval
    source: str
    basis: Basis
    calendar: str = Field(description="Whose sessions its bars follow.")
    calendar_version: str = Field(description="What the calendar comes from, corrections included.")
    watermark: datetime | None = Field(description="Start of the first bar not known to be final.")
    counts: CoverageCounts
    stretches: list[StretchRead]


class GapRead(BaseModel):
    """A stretch that should have bars and has none."""

    series_id: int
    instrument_id: int
    symbol: str
    exchange: str
    interval: Interval
    source: str
    basis: Basis
    state: CoverageState = Field(description="missing or failed.")
    start: datetime
    end: datetime
    bars: int = Field(description="Bars it should have.")


class RepairCreate(BaseModel):
    """Gaps to fill: of some instruments, by symbol or by id."""

    model_config = ConfigDict(extra="forbid")

    symbols: list[SymbolName] | None = Field(
        None, min_length=1, max_length=1000, description="`symbol` or `exchange:symbol`."
    )
    instrument_ids: list[Annotated[Id, Strict()]] | None = Field(
        None, min_length=1, max_length=1000, description="Instead of symbols."
    )
    interval: IntervalText | None = Field(None, description="Only series of this interval.")
    source: Source | None = Field(None, description="Only series of this source.")
    provider: ProviderName | None = Field(
        None,
        description="Whom to ask; default each series' source. What another one has becomes its own series.",
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> "RepairCreate":
        if (self.symbols is None) == (self.instrument_ids is None):
            raise ValueError("give symbols or instrument_ids, one of the two")
        return self
