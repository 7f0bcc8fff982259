"""Trading calendars, and the days on which they are known to be wrong."""

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Path, status

from market_data.api.dependencies import Calendars
from market_data.api.documentation import problems
from market_data.schemas.calendar import CalendarRead, OverrideRead, OverrideWrite
from market_data.schemas.envelope import Page

router = APIRouter(prefix="/calendars", tags=["coverage"])

Name = Annotated[str, Path(max_length=32, description="Such as XNYS or 24/7 (write 24%2F7).")]
Day = Annotated[date, Path(ge=date(1900, 1, 1), le=date(2999, 12, 31), description="The session's date.")]


@router.get("", responses=problems())
async def list_calendars(service: Calendars) -> Page[CalendarRead]:
    """List the calendars instruments may follow, in order of name."""
    found = await service.list_()
    return Page(data=[CalendarRead.model_validate(one) for one in found], next_page_token=None)


@router.get("/{name:path}/overrides", responses=problems(404, 422))
async def list_overrides(service: Calendars, name: Name) -> Page[OverrideRead]:
    """List the corrected days of a calendar, in order."""
    found = await service.overrides(name)
    return Page(data=[OverrideRead.model_validate(one) for one in found], next_page_token=None)


@router.put("/{name:path}/overrides/{day}", responses=problems(400, 404, 413, 422))
async def put_override(service: Calendars, name: Name, day: Day, body: OverrideWrite) -> OverrideRead:
    """Note how a day really is; without open and close it has no session."""
    noted = await service.override(name, day, body.opens_at, body.closes_at, body.note)
    return OverrideRead.model_validate(noted)


@router.delete(
    "/{name:path}/overrides/{day}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404, 422)
)
async def delete_override(service: Calendars, name: Name, day: Day) -> None:
    """Take a correction back: the day is again as the calendar has it."""
    await service.forget(name, day)
