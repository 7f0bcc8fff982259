"""`market-data calendars`: trading calendars, and the days on which they are known to be wrong."""

from datetime import date, datetime
from typing import Annotated, Any

import typer

from market_data.cli.groups import ListGroup
from market_data.cli.options import Json, checked
from market_data.cli.output import print_fields, print_json, print_rows
from market_data.cli.running import opened, run_async
from market_data.core.exceptions import InvalidInput
from market_data.schemas.calendar import CalendarRead, OverrideRead, OverrideWrite
from market_data.services.calendars import CalendarService

_calendars = typer.Typer(
    cls=ListGroup,
    help="Trading calendars: market-data calendars [NAME], or override.",
    epilog="Example: market-data calendars XNYS",
)
app = typer.Typer()
app.add_typer(_calendars, name="calendars")


@_calendars.command("list", epilog="Example: market-data calendars list XNYS")
def list_(
    name: Annotated[str | None, typer.Argument(help="Show the corrected days of this one.")] = None,
    json: Json = False,
) -> None:
    """List the calendars, or the days of one that are corrected."""

    async def work() -> list[dict[str, Any]]:
        async with opened() as database:
            service = CalendarService(database)
            if name is None:
                calendars = await service.list_()
                return [CalendarRead.model_validate(one).model_dump(mode="json") for one in calendars]
            days = await service.overrides(name)
            return [OverrideRead.model_validate(one).model_dump(mode="json") for one in days]

    rows = run_async(work)
    columns = ("name", "overrides") if name is None else ("day", "opens_at", "closes_at", "note")
    print_json(rows) if json else print_rows(rows, columns)


@_calendars.command(
    epilog="Example: market-data calendars override XNYS 2025-01-09 --closed --note 'day of mourning'"
)
def override(
    name: Annotated[str, typer.Argument(help="One of `market-data calendars`.")],
    day: Annotated[str, typer.Argument(help="The session's date.")],
    closed: Annotated[bool, typer.Option("--closed", help="It has no session.")] = False,
    opens: Annotated[str | None, typer.Option(help="When trading begins: RFC 3339 with offset.")] = None,
    closes: Annotated[str | None, typer.Option(help="When it ends.")] = None,
    note: Annotated[str | None, typer.Option(help="Why.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the correction back.")] = False,
    json: Json = False,
) -> None:
    """Note how a day really is: --closed, --opens with --closes, or --remove."""
    if sum([closed, bool(opens or closes), remove]) != 1:
        raise InvalidInput("override", "give --closed, --opens with --closes, or --remove, one of the three")
    on: date = checked("day", date, day)
    hours = {"opens_at": opens, "closes_at": closes, "note": note}
    values: OverrideWrite = checked("override", OverrideWrite, hours)
    row = run_async(_change, name, on, values, remove=remove)
    if json:
        print_json(row)
    elif remove:
        typer.echo(f"{on} of {name} is again as the calendar has it")
    else:
        print_fields(row)


async def _change(name: str, day: date, values: OverrideWrite, *, remove: bool) -> dict[str, Any]:
    async with opened() as database:
        service = CalendarService(database)
        if remove:
            await service.forget(name, day)
            return {"calendar": name, "day": day.isoformat(), "removed": True}
        opens: datetime | None = values.opens_at
        noted = await service.override(name, day, opens, values.closes_at, values.note)
        return OverrideRead.model_validate(noted).model_dump(mode="json")
