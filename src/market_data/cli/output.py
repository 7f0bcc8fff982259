"""What commands print: results on stdout, everything else on stderr."""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel, TypeAdapter, ValidationError
from rich.console import Console
from rich.table import Table

from market_data.core.exceptions import InvalidInput
from market_data.core.interval import Interval, parse_instant
from market_data.core.vocabulary import RunStatus
from market_data.schemas.ingestion import RunRead

DONE, FAILED, MISUSED = 0, 1, 2
ResultT = TypeVar("ResultT")
ValueT = TypeVar("ValueT")

notes = Console(stderr=True, highlight=False, soft_wrap=True)
"""For progress and remarks."""

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
AllowRejections = Annotated[
    bool, typer.Option("--allow-rejections", help="Exit with 0 although rows were rejected.")
]


def run_async(work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run a command's work."""
    return asyncio.run(work)


def complain(message: str) -> None:
    """Say what is wrong, on one line."""
    notes.print(f"error: {' '.join(message.split())}", markup=False, style="red")


def print_json(value: object) -> None:
    """Print a result for programs."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n")


def print_rows(rows: Iterable[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Print a result for people."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in columns))
    console = Console(highlight=False)
    if not console.is_terminal:  # a pipe has no width: lines are never cut
        console = Console(highlight=False, width=10_000)
    console.print(table, soft_wrap=True)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def checked(field: str, kind: Any, value: object) -> Any:
    """Check an option by the rule the API has for the same field.

    Raises:
        InvalidInput: it breaks the rule.

    """
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        message = str(error.errors(include_url=False)[0]["msg"]).removeprefix("Value error, ")
        raise InvalidInput(field, message) from None


def interval_option(text: str) -> Interval:
    """Read `--interval`."""
    return _read("interval", Interval.parse, text)


def instant_option(field: str, text: str | None) -> datetime | None:
    """Read `--start` and `--end`."""
    return None if text is None else _read(field, parse_instant, text)


def _read(field: str, reader: Callable[[str], ValueT], text: str) -> ValueT:
    try:
        return reader(text)
    except ValueError as error:
        raise InvalidInput(field, str(error)) from None


def report_run(run: RunRead, *, as_json: bool, allow_rejections: bool) -> None:
    """Print how a run ended, and exit with what that means.

    Raises:
        Exit: always when it did not simply succeed.

    """
    if as_json:
        print_json(run)
    else:
        counts = ", ".join(
            f"{getattr(run, name)} {name}"
            for name in ("inserted", "updated", "unchanged", "unfinished", "rejected")
        )
        typer.echo(f"run {run.id} {run.status}: {counts}")
    if run.error:
        complain(run.error)
    if run.rejected:
        notes.print(f"see why rows were rejected: market-data runs {run.id}")
    if run.status is RunStatus.SUCCEEDED:
        return
    only_rejections = run.status is RunStatus.PARTIAL and run.error is None
    raise typer.Exit(DONE if only_rejections and allow_rejections else FAILED)
