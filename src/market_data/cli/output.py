"""What commands print: results on stdout, everything else on stderr."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NoReturn

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from market_data.core.vocabulary import RunStatus
from market_data.schemas.ingestion import RunRead

DONE, FAILED, MISUSED = 0, 1, 2
INTERRUPTED, TERMINATED = 130, 143
"""By Ctrl-C and by SIGTERM, as shells count: 128 and the signal's number."""

COUNTS = ("inserted", "updated", "unchanged", "unfinished", "rejected")


class _Console(Console):
    """Leaves a closed pipe to whoever runs the command."""

    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


notes = _Console(stderr=True, highlight=False, soft_wrap=True)
"""For progress and remarks."""


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
    people().print(table_of(rows, columns), soft_wrap=True)


def people() -> Console:
    """Return what results for people are printed on."""
    console = _Console(highlight=False)
    if not console.is_terminal:  # a pipe has no width: lines are never cut
        console = _Console(highlight=False, width=10_000)
    return console


def table_of(rows: Iterable[Mapping[str, object]], columns: Sequence[str]) -> Table:
    """Lay rows out in columns."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in columns))
    return table


def print_fields(fields: Mapping[str, object]) -> None:
    """Print one thing for people, a field a line."""
    width = max(map(len, fields))
    for name, value in fields.items():
        typer.echo(f"{name:<{width}}  {_cell(value)}")


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case list() | tuple():
            return ", ".join(map(str, value))
        case dict():
            return ", ".join(f"{key}={_cell(item)}" for key, item in value.items() if item is not None)
        case _:
            return str(value)


def in_words(seconds: int) -> str:
    """Write a duration: `30 days`, `2 days 11 h 55 min`, `10 s`, `0 s`."""
    days, rest = divmod(seconds, 86_400)
    parts = [f"{days} day{'s' if days > 1 else ''}"] if days else []
    for unit, length in (("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        parts += [f"{count} {unit}"] if count else []
    return " ".join(parts) or "0 s"


def report_run(run: RunRead, *, as_json: bool, allow_rejections: bool) -> None:
    """Print how a run ended, and exit with what that means.

    Raises:
        Exit: always when it did not simply succeed.

    """
    if as_json:
        print_json(run)
    else:
        counts = ", ".join(f"{getattr(run, name)} {name}" for name in COUNTS)
        typer.echo(f"run {run.id} {run.status}: {counts}")
    if run.error:
        complain(run.error)
    if run.rejected:
        notes.print(f"see why rows were rejected: market-data runs {run.id}")
    if run.status is RunStatus.SUCCEEDED:
        return
    only_rejections = run.status is RunStatus.PARTIAL and run.error is None
    raise typer.Exit(DONE if only_rejections and allow_rejections else FAILED)
