"""Jobs of the queue over the wire, and how far they are."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from market_data.core.vocabulary import JobKind, JobStatus
from market_data.schemas.ingestion import RunRead


class JobRead(BaseModel):
    """Work that waits, is being done, or was given up; what ended is a run."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    kind: JobKind
    provider: str | None = Field(description="Whom it asks.")
    status: JobStatus
    priority: int = Field(description="The greater goes first.")
    parameters: dict[str, Any]
    attempts: int = Field(description="Attempts so far.")
    created_at: datetime
    due_at: datetime = Field(description="When it may start.")
    heartbeat_at: datetime | None = Field(description="When its worker last gave a sign of life.")
    run: RunRead | None = Field(description="The newest run of it: its counts and its error.")


class BudgetRead(BaseModel):
    """When a provider may be asked next."""

    model_config = ConfigDict(from_attributes=True)

    next_at: datetime = Field(description="First turn that is free.")
    blocked_until: datetime | None = Field(description="Until when it asked not to be asked.")


class JobProgress(BaseModel):
    """How far a job is: data of an event `progress`."""

    model_config = ConfigDict(from_attributes=True)

    status: JobStatus
    attempts: int
    run_id: int | None
    done: int = Field(description="Bars stored, or found stored.")
    expected: int | None = Field(description="Bars there will be, where that is known.")
    rate: float = Field(description="Bars a second, of late.")
    eta_seconds: float | None = Field(description="Seconds to the end at this rate, where it can be told.")
    budget: BudgetRead | None = Field(description="When its provider may be asked next.")


class JobEnd(BaseModel):
    """A job has left the queue, or was given up: data of an event `end`."""

    job_id: int
    run: RunRead | None = Field(description="What came of it; null where there was nothing to do.")
