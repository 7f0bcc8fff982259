"""Schedules over the wire."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from market_data.core.vocabulary import ScheduleTask
from market_data.schemas.fields import Flag, Name, Text, TimeZone, Whole
from market_data.schemas.patch import MergePatch

_CRON = "Five fields: minute hour day month weekday, such as `30 22 * * 1-5`."
_CALENDAR = "Instead of cron: the calendar after whose sessions it is due, such as XNYS."
_DELAY = "How long after the close of a session."
_ZONE = "IANA zone in which cron is read."


class ScheduleCreate(BaseModel):
    """A new schedule: by cron, or after the sessions of a calendar."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    task: ScheduleTask = ScheduleTask.SYNC
    cron: Text | None = Field(None, description=_CRON)
    calendar: Text | None = Field(None, description=_CALENDAR)
    delay_minutes: Whole = Field(0, ge=0, le=1440, description=_DELAY)
    timezone: TimeZone = Field("UTC", description=_ZONE)
    active: Flag = True


class ScheduleUpdate(MergePatch):
    """A merge patch (RFC 7396): what is absent stays; one of cron and calendar must be left."""

    kept = ("name", "task", "delay_minutes", "timezone", "active")

    name: Name | None = None
    task: ScheduleTask | None = None
    cron: Text | None = Field(None, description=_CRON)
    calendar: Text | None = Field(None, description=_CALENDAR)
    delay_minutes: Whole | None = Field(None, ge=0, le=1440, description=_DELAY)
    timezone: TimeZone | None = Field(None, description=_ZONE)
    active: Flag | None = None


class ScheduleRead(BaseModel):
    """A schedule."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    task: ScheduleTask
    cron: str | None
    calendar: str | None
    delay_minutes: int
    timezone: str
    active: bool
    due_at: datetime = Field(description="When it is due next.")
    last_at: datetime | None = Field(description="When it was due last.")
    created_at: datetime
    updated_at: datetime
