"""`market-data schedules`: when things are done."""

from typing import Annotated, Any

import typer

from market_data.cli.catalogue import PAGE, every
from market_data.cli.groups import ListGroup
from market_data.cli.options import Json, checked
from market_data.cli.output import print_fields, print_json, print_rows
from market_data.cli.running import opened, run_async
from market_data.core.exceptions import InvalidInput
from market_data.core.vocabulary import ScheduleTask
from market_data.models import Schedule
from market_data.repositories.schedule import ScheduleFilter
from market_data.schemas.schedule import ScheduleCreate, ScheduleRead, ScheduleUpdate
from market_data.services.schedule import ScheduleService

_COLUMNS = ("id", "name", "task", "cron", "timezone", "calendar", "delay_minutes", "active", "due_at")

_schedules = typer.Typer(
    cls=ListGroup,
    help="When things are done: market-data schedules, or add, edit, remove.",
    epilog="Example: market-data schedules add after-new-york --calendar XNYS --delay-minutes 15",
)
app = typer.Typer()
app.add_typer(_schedules, name="schedules")

Cron = Annotated[
    str | None, typer.Option(help="Five fields: minute hour day month weekday, such as '30 22 * * 1-5'.")
]
Calendar = Annotated[
    str | None, typer.Option(help="Instead of --cron: after the sessions of this calendar, such as XNYS.")
]
Which = Annotated[str, typer.Argument(metavar="NAME", help="One of `market-data schedules`.")]


@_schedules.command("list", epilog="Example: market-data schedules list --task sync")
def list_(
    task: Annotated[ScheduleTask | None, typer.Option(help="Only for this.")] = None, json: Json = False
) -> None:
    """List schedules, oldest first."""

    async def work() -> list[Schedule]:
        async with opened() as database:
            service, wanted = ScheduleService(database), ScheduleFilter(task=task)
            return await every(lambda token: service.list_(wanted, limit=PAGE, page_token=token))

    rows = [_row(one) for one in run_async(work)]
    print_json(rows) if json else print_rows(rows, _COLUMNS)


@_schedules.command(
    epilog="Example: market-data schedules add evening --cron '30 22 * * 1-5' --timezone Europe/Berlin"
)
def add(
    name: Annotated[str, typer.Argument(help="For people: small letters, digits, dots, dashes.")],
    cron: Cron = None,
    calendar: Calendar = None,
    delay_minutes: Annotated[int, typer.Option(help="How long after the close of a session.")] = 0,
    timezone: Annotated[str, typer.Option(help="IANA zone in which cron is read.")] = "UTC",
    task: Annotated[ScheduleTask, typer.Option(help="What is done.")] = ScheduleTask.SYNC,
    inactive: Annotated[bool, typer.Option("--inactive", help="Do not follow it yet.")] = False,
    json: Json = False,
) -> None:
    """Add a schedule: by cron, or some minutes after each session of a calendar."""
    given = {
        "name": name,
        "task": task,
        "cron": cron,
        "calendar": calendar,
        "delay_minutes": delay_minutes,
        "timezone": timezone,
        "active": not inactive,
    }
    values = checked("schedule", ScheduleCreate, given).model_dump()

    async def work() -> Schedule:
        async with opened() as database:
            return await ScheduleService(database).create(values)

    _show(run_async(work), as_json=json)


@_schedules.command(epilog="Example: market-data schedules edit evening --cron '0 23 * * 1-5'")
def edit(
    which: Which,
    name: Annotated[str | None, typer.Option(help="Its new name.")] = None,
    cron: Cron = None,
    calendar: Calendar = None,
    delay_minutes: Annotated[int | None, typer.Option(help="How long after the close of a session.")] = None,
    timezone: Annotated[str | None, typer.Option(help="IANA zone in which cron is read.")] = None,
    task: Annotated[ScheduleTask | None, typer.Option(help="What is done.")] = None,
    active: Annotated[
        bool | None, typer.Option("--active/--inactive", help="Whether it is followed.")
    ] = None,
    json: Json = False,
) -> None:
    """Change what is given; --cron takes the place of --calendar, and the other way round."""
    given = {
        "name": name,
        "cron": cron,
        "calendar": calendar,
        "delay_minutes": delay_minutes,
        "timezone": timezone,
        "task": task,
        "active": active,
    }
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if not changes:
        raise InvalidInput("edit", "names nothing to change; see --help")
    for one, other in (("cron", "calendar"), ("calendar", "cron")):
        if one in changes:
            changes.setdefault(other, None)
    values = checked("schedule", ScheduleUpdate, changes).model_dump(exclude_unset=True)

    async def work() -> Schedule:
        async with opened() as database:
            service = ScheduleService(database)
            return await service.update((await service.get_by_name(which)).id, values)

    _show(run_async(work), as_json=json)


@_schedules.command(epilog="Example: market-data schedules remove evening")
def remove(which: Which, json: Json = False) -> None:
    """Remove a schedule that no subscription follows."""

    async def work() -> None:
        async with opened() as database:
            service = ScheduleService(database)
            await service.delete((await service.get_by_name(which)).id)

    run_async(work)
    print_json({"removed": which}) if json else typer.echo(f"removed: {which}")


def _show(schedule: Schedule, *, as_json: bool) -> None:
    print_json(_row(schedule)) if as_json else print_fields(_row(schedule))


def _row(schedule: Schedule) -> dict[str, Any]:
    return ScheduleRead.model_validate(schedule).model_dump(mode="json")
