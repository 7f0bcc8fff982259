"""Trading calendars and their corrections over the wire."""

from datetime import date, datetime

from pydantic import BaseModel, ConfigDict, Field

from market_data.schemas.fields import Instant, Text


class CalendarRead(BaseModel):
    """A calendar that instruments may follow."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    overrides: int = Field(description="Days that are corrected.")


class OverrideWrite(BaseModel):
    """How a day really is; without open and close it has no session."""

    model_config = ConfigDict(extra="forbid")

    opens_at: Instant | None = None
    closes_at: Instant | None = None
    note: Text | None = Field(None, description="Why.")


class OverrideRead(BaseModel):
    """A corrected day."""

    model_config = ConfigDict(from_attributes=True)

    calendar: str
    day: date
    opens_at: datetime | None = Field(description="When trading begins; null: no session.")
    closes_at: datetime | None = Field(description="When it ends.")
    note: str | None
    created_at: datetime
