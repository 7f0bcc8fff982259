"""Options that several commands share, read by the rules the API has for the same fields."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, TypeVar

import typer
from pydantic import TypeAdapter, ValidationError

from market_data.core.exceptions import InvalidInput
from market_data.core.interval import Interval, parse_instant

ValueT = TypeVar("ValueT")

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
AllowRejections = Annotated[
    bool, typer.Option("--allow-rejections", help="Exit with 0 although rows were rejected.")
]
Start = Annotated[str | None, typer.Option(help="First bar, inclusive: a date, or RFC 3339 with offset.")]
End = Annotated[str | None, typer.Option(help="End, exclusive: a date, or RFC 3339 with offset.")]
IntervalOption = Annotated[str, typer.Option(help="1m 5m 15m 30m 1h 4h 1d 1w 1mo")]
Which = Annotated[str, typer.Argument(metavar="SYMBOL|ID", help="symbol, exchange:symbol, or id")]

Span = tuple[datetime | None, datetime | None]


def checked(field: str, kind: Any, value: object) -> Any:
    """Check an option.

    Raises:
        InvalidInput: it breaks the rule; names the field at fault, that of a record included.

    """
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        message = str(first["msg"]).removeprefix("Value error, ")
        raise InvalidInput(".".join(map(str, first["loc"])) or field, message) from None


def interval_option(text: str) -> Interval:
    """Read `--interval`.

    Raises:
        InvalidInput: not an interval.

    """
    return _read("interval", Interval.parse, text)


def span_option(start: str | None, end: str | None) -> Span:
    """Read `--start` and `--end`.

    Raises:
        InvalidInput: not an instant, or the end lies before the start.

    """
    first = None if start is None else _read("start", parse_instant, start)
    last = None if end is None else _read("end", parse_instant, end)
    if first and last and last < first:
        raise InvalidInput("end", f"{end} lies before start {start}")
    return first, last


def _read(field: str, reader: Callable[[str], ValueT], text: str) -> ValueT:
    try:
        return reader(text)
    except ValueError as error:
        raise InvalidInput(field, str(error)) from None
