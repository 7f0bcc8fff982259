"""When things are done."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response, status

from market_data.api.dependencies import LIST_DEFAULT, ListLimit, PageTokenQuery, Schedules
from market_data.api.documentation import located, problems
from market_data.core.vocabulary import ScheduleTask
from market_data.repositories.schedule import ScheduleFilter
from market_data.schemas.envelope import Page
from market_data.schemas.fields import ID_MAX
from market_data.schemas.schedule import ScheduleCreate, ScheduleRead, ScheduleUpdate

router = APIRouter(prefix="/schedules", tags=["subscriptions"])

ScheduleId = Annotated[int, Path(ge=1, le=ID_MAX)]


@router.get("", responses=problems(400, 422))
async def list_schedules(
    service: Schedules,
    task: ScheduleTask | None = None,
    active: Annotated[bool | None, Query(description="Whether they are followed.")] = None,
    limit: ListLimit = LIST_DEFAULT,
    page_token: PageTokenQuery = None,
) -> Page[ScheduleRead]:
    """List schedules, oldest first."""
    wanted = ScheduleFilter(task=task, active=active)
    found, token = await service.list_(wanted, limit=limit, page_token=page_token)
    return Page(data=[ScheduleRead.model_validate(one) for one in found], next_page_token=token)


@router.post("", status_code=status.HTTP_201_CREATED, responses=located(201) | problems(400, 409, 413, 422))
async def create_schedule(
    request: Request, response: Response, service: Schedules, body: ScheduleCreate
) -> ScheduleRead:
    """Add a schedule: by cron, or some minutes after each session of a calendar."""
    created = await service.create(body.model_dump())
    response.headers["Location"] = f"{request.url.path}/{created.id}"
    return ScheduleRead.model_validate(created)


@router.get("/{schedule_id}", responses=problems(404, 422))
async def get_schedule(service: Schedules, schedule_id: ScheduleId) -> ScheduleRead:
    """Return one schedule."""
    return ScheduleRead.model_validate(await service.get(schedule_id))


@router.patch("/{schedule_id}", responses=problems(400, 404, 409, 413, 422))
async def update_schedule(service: Schedules, schedule_id: ScheduleId, body: ScheduleUpdate) -> ScheduleRead:
    """Change what is named: a merge patch. It is due next as it then says."""
    changes = body.model_dump(exclude_unset=True)
    return ScheduleRead.model_validate(await service.update(schedule_id, changes))


@router.delete("/{schedule_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404, 409, 422))
async def delete_schedule(service: Schedules, schedule_id: ScheduleId) -> None:
    """Remove a schedule that no subscription follows."""
    await service.delete(schedule_id)
