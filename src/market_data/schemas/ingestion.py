"""Ingestion runs and providers over the wire."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo, field_validator

from market_data.core.interval import Basis, Interval
from market_data.core.vocabulary import AssetClass, RunStatus
from market_data.schemas.fields import Exchange, Instant, IntervalText

ProviderSymbolText = Annotated[str, StringConstraints(pattern=r"^[!-+\--~]{1,64}$")]


class IngestionCreate(BaseModel):
    """Bars to pull from a provider."""

    model_config = ConfigDict(extra="forbid")

    provider: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
    symbols: list[ProviderSymbolText] = Field(
        min_length=1, max_length=1000, description="As the provider writes them."
    )
    interval: IntervalText = Interval.D1
    start: Instant | None = None
    end: Instant | None = None
    exchange: Exchange | None = Field(None, description="Needed where the provider names none.")

    @field_validator("end")
    @classmethod
    def _range(cls, end: datetime | None, others: ValidationInfo) -> datetime | None:
        start = others.data.get("start")
        if start is not None and end is not None and end < start:
            raise ValueError(f"{end.isoformat()} lies before start {start.isoformat()}")
        return end


class RunRead(BaseModel):
    """An ingestion run."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    source: str
    status: RunStatus
    parameters: dict[str, Any]
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    inserted: int
    updated: int
    unchanged: int
    unfinished: int
    rejected: int
    expected: int | None = Field(description="Bars there will be in the end, where that is known.")
    job_id: int | None = Field(description="Job of the queue that does it.")
    subscription_id: int | None = Field(description="What it is done for.")


class RejectionRead(BaseModel):
    """A row that broke a rule."""

    model_config = ConfigDict(from_attributes=True)

    symbol: str | None
    ts: datetime | None
    reason: str = Field(description="Stable code of the rule.")
    detail: str = Field(description="The rule and the figures.")
    text: str = Field(description="The row as it came, up to 4 KiB.")


class IngestResult(BaseModel):
    """What became of a body of bars."""

    run_id: int
    inserted: int
    updated: int
    unchanged: int
    rejected: int
    rejections: list[RejectionRead] = Field(description="The first 100.")


class DeleteResult(BaseModel):
    """How many bars were taken back."""

    deleted: int


class ProviderRead(BaseModel):
    """What a provider offers, and how it may be asked."""

    name: str
    title: str
    covers: str
    homepage: str
    intervals: list[Interval]
    basis: dict[Interval, Basis]
    asset_classes: list[AssetClass]
    requests_per_minute: float = Field(description="Pace of requests, as set or as everyone may ask.")
    requests_per_hour: int | None = Field(
        description="Requests allowed in an hour, as set or as everyone may ask; null: no such limit."
    )
    requests_per_day: int | None = Field(
        description="Requests allowed in a day, as set or as everyone may ask; null: no such limit."
    )
    page_bars: int | None = Field(description="Most bars of one answer; null: all that are asked for.")
    history_seconds: dict[Interval, int] = Field(
        description="How far back from now it has bars; an interval not named: as far as its bars go."
    )
    settling_seconds: int = Field(description="How long after its end a bar is final, and can be stored.")
    overlap_bars: int = Field(description="Bars asked for again with each increment, for corrections.")
    timezone: str | None = Field(
        description="IANA zone in which bars of a day and longer take their date; null: the exchange's own."
    )
    needs_key: bool
    key_set: bool
