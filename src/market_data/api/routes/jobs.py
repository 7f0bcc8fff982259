"""Jobs of the queue: seen, followed, tried again, taken out."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, status
from fastapi.sse import EventSourceResponse, ServerSentEvent

from market_data.api.dependencies import LIST_DEFAULT, Jobs, ListLimit, PageTokenQuery
from market_data.api.documentation import events, problems
from market_data.api.events import JobEvents
from market_data.core.vocabulary import JobKind, JobStatus
from market_data.repositories.job import JobFilter
from market_data.schemas.envelope import Page
from market_data.schemas.fields import Source
from market_data.schemas.job import JobEnd, JobProgress, JobRead

router = APIRouter(prefix="/jobs", tags=["jobs"])

JobId = Annotated[int, Path(ge=1, le=2**63 - 1)]


@router.get("", responses=problems(400, 422))
async def list_jobs(
    service: Jobs,
    status: JobStatus | None = None,
    kind: JobKind | None = None,
    provider: Annotated[Source | None, Query()] = None,
    limit: ListLimit = LIST_DEFAULT,
    page_token: PageTokenQuery = None,
) -> Page[JobRead]:
    """List what waits, is being done, or was given up, newest first; what ended is a run."""
    wanted = JobFilter(status=status, kind=kind, provider=provider)
    found, token = await service.list_(wanted, limit=limit, page_token=page_token)
    return Page(data=[JobRead.model_validate(one.fields) for one in found], next_page_token=token)


@router.get("/{job_id}", responses=problems(404, 422))
async def get_job(service: Jobs, job_id: JobId) -> JobRead:
    """Return one job."""
    return JobRead.model_validate((await service.get(job_id)).fields)


@router.post("/{job_id}/retry", responses=problems(404, 422))
async def retry_job(service: Jobs, job_id: JobId) -> JobRead:
    """Let a job that was given up, or waits for its time, be done at once."""
    return JobRead.model_validate((await service.retry(job_id)).fields)


@router.delete("/{job_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404, 422))
async def cancel_job(service: Jobs, job_id: JobId) -> None:
    """Take a job out of the queue; what it stored stays, and its run ends as cancelled."""
    await service.cancel(job_id)


@router.get(
    "/{job_id}/events",
    response_class=EventSourceResponse,
    responses=events(progress=JobProgress, end=JobEnd) | problems(404, 422),
)
async def follow_job(
    events: Annotated[JobEvents, Depends(JobEvents.of)],
) -> AsyncIterator[ServerSentEvent]:
    """Follow a job: `progress` about every second, `end` once it has left the queue or was given up."""
    async for one in events:
        yield one
