"""Subscriptions over the wire."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from market_data.core.interval import Interval
from market_data.schemas.fields import Exchange, Flag, Instant, IntervalText, Name
from market_data.schemas.ingestion import ProviderSymbolText
from market_data.schemas.patch import MergePatch

ProviderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,32}$")]


class SubscriptionCreate(BaseModel):
    """What is to be kept up to date: each symbol at each interval. What is absent stays as it was."""

    model_config = ConfigDict(extra="forbid")

    provider: ProviderName
    symbols: list[ProviderSymbolText] = Field(
        min_length=1, max_length=1000, description="As the provider writes them."
    )
    intervals: list[IntervalText] = Field(min_length=1, max_length=9)
    since: Instant = Field(description="Start of the first bar wanted.")
    exchange: Exchange | None = Field(None, description="Needed where the provider names none.")
    watchlist: Name | None = Field(None, description="Name of their list; new ones are in `default`.")
    schedule: Name | None = Field(
        None, description="Name of a schedule for `sync`; new ones are looked after as bars become final."
    )
    active: Flag | None = Field(None, description="Whether they are followed; new ones are.")


class SubscriptionUpdate(MergePatch):
    """A merge patch (RFC 7396): what is absent stays, null empties exchange and schedule."""

    kept = ("since", "watchlist", "active")

    since: Instant | None = None
    exchange: Exchange | None = None
    watchlist: Name | None = None
    schedule: Name | None = Field(None, description="Name of a schedule; null: as bars become final.")
    active: Flag | None = None


class SubscriptionRead(BaseModel):
    """One instrument of a provider at one interval that is kept up to date."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    watchlist: str
    provider: str
    symbol: str = Field(description="As the provider writes it.")
    interval: Interval
    exchange: str | None
    since: datetime = Field(description="Start of the first bar wanted.")
    schedule: str | None = Field(description="Its schedule; null: it is looked after as bars become final.")
    active: bool
    due_at: datetime = Field(description="When it is looked after next.")
    failures: int = Field(description="Attempts that failed in a row.")
    error: str | None = Field(description="Why the last attempt failed.")
    series_id: int | None = Field(description="Its bars, once the provider has answered.")
    watermark: datetime | None = Field(description="Start of the first bar that is not known to be final.")
    created_at: datetime
    updated_at: datetime
