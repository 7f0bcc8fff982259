"""Which column of a file means what: by name, by an explicit mapping, or by a constant in its place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from market_data.core.bars import PRICES
from market_data.core.exceptions import InvalidInput, UnreadableBody
from market_data.core.interval import Interval

KEYS = ("symbol", "exchange", "instrument_id", "interval")
NAMES = (*KEYS, "ts", *PRICES, "volume")
TIME_ALIASES = ("timestamp", "date", "datetime", "time")
"""Names taken for `ts` where nothing is mapped and exactly one of them is there."""

_REQUIRED = ("ts", *PRICES)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOptions:
    """What the user said about the rows."""

    mapping: Mapping[str, str] = field(default_factory=dict)
    """Our name -> the file's column, such as `{"ts": "Date+Time", "open": "Open"}`; see `parse_mapping`."""
    constants: Mapping[str, str] = field(default_factory=dict)
    """Values of `KEYS` that hold for all rows, such as `{"interval": "1d"}`."""
    timezone: str | None = None
    """IANA zone of date-times without offset; None refuses those."""
    ts_format: str | None = None
    """A strptime pattern (of Rust's chrono) for every time written as text; None reads ISO 8601."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The file's columns behind our names; `ts` may be two, a date and a time of day."""

    columns: Mapping[str, str]
    ts: tuple[str, ...]


def parse_mapping(text: str) -> dict[str, str]:
    """Read `ts=Date+Time,open=Open,symbol=Ticker`.

    Raises:
        InvalidInput: not of this form, an unknown name, or a name twice; the field is `map`.

    """
    found: dict[str, str] = {}
    for pair in text.split(","):
        name, equals, column = (part.strip() for part in pair.partition("="))
        if not (name and equals and column):
            raise InvalidInput(
                "map", f"{pair.strip()[:60]!r} is not of the form name=column, such as ts=Date"
            )
        if name in found:
            raise InvalidInput("map", f"{name} is mapped twice")
        found[name] = column
    _check_names("map", found, NAMES)
    return found


def resolve(columns: Sequence[str], options: RowOptions, unusable: Mapping[str, str]) -> Layout:
    """Find each of our names among a file's columns.

    Raises:
        InvalidInput: a required column is absent or several fit; the field is our name for it.
        UnreadableBody: a needed column is of a type no cell can be read from.

    """
    _check_names("map", options.mapping, NAMES)
    _check_constants(options.constants)
    available = [*columns, *unusable]
    found = {}
    for name in NAMES:
        if name != "ts" and (column := _column(name, options.mapping, available)) is not None:
            found[name] = column
    ts = _time_columns(options.mapping, available)
    _check_present(found, ts, options, available)
    for column in (*found.values(), *ts):
        if column in unusable:
            raise UnreadableBody(
                f"column {column!r} is of type {unusable[column]}, which holds no plain cells"
            )
    return Layout(found, ts)


def _check_names(what: str, given: Mapping[str, str], known: Sequence[str]) -> None:
    if unknown := [name for name in given if name not in known]:
        raise InvalidInput(what, f"unknown name {unknown[0][:60]!r}; known are {', '.join(known)}")


def _column(name: str, mapping: Mapping[str, str], available: Sequence[str]) -> str | None:
    if name in mapping:
        return _named(name, mapping[name], available)
    return _find(name, name, [column for column in available if column not in mapping.values()])


def _named(name: str, wanted: str, available: Sequence[str]) -> str:
    """Find a column that the mapping names."""
    if (column := _find(name, wanted, available)) is None:
        raise InvalidInput(name, f"is mapped to column {wanted!r}, which is absent; {_listing(available)}")
    return column


def _find(name: str, wanted: str, available: Sequence[str]) -> str | None:
    if wanted in available:
        return wanted
    fitting = [column for column in available if column.strip().lower() == wanted.strip().lower()]
    if len(fitting) > 1:
        raise InvalidInput(name, f"several columns fit: {', '.join(map(repr, fitting))}; map one of them")
    return fitting[0] if fitting else None


def _time_columns(mapping: Mapping[str, str], available: Sequence[str]) -> tuple[str, ...]:
    if "ts" in mapping:
        whole = _find("ts", mapping["ts"], available)
        if whole is not None or "+" not in mapping["ts"]:
            return (whole or _named("ts", mapping["ts"], available),)
        day, _, time = mapping["ts"].partition("+")
        return _named("ts", day, available), _named("ts", time, available)
    if (column := _find("ts", "ts", available)) is not None:
        return (column,)
    free = [column for column in available if column not in mapping.values()]
    aliases = [column for column in free if column.strip().lower() in TIME_ALIASES]
    if len(aliases) > 1:
        raise InvalidInput(
            "ts", f"may be any of {', '.join(map(repr, aliases))}: map one, or a pair as ts=Date+Time"
        )
    return tuple(aliases)


def _check_present(
    found: Mapping[str, str], ts: tuple[str, ...], options: RowOptions, available: Sequence[str]
) -> None:
    for name in _REQUIRED:
        if name not in found and not (name == "ts" and ts):
            raise InvalidInput(name, f"no such column; {_listing(available)}")
    given = {*found, *options.constants}
    if "interval" not in given:
        raise InvalidInput("interval", f"neither a column nor given for all rows; {_listing(available)}")
    if not given & {"symbol", "instrument_id"}:
        raise InvalidInput("symbol", f"neither a column nor given for all rows; {_listing(available)}")


def _check_constants(constants: Mapping[str, str]) -> None:
    _check_names("constants", constants, KEYS)
    if "interval" in constants:
        try:
            Interval.parse(constants["interval"])
        except ValueError as error:
            raise InvalidInput("interval", str(error)) from None
    if not constants.get("instrument_id", "1").isdecimal():
        raise InvalidInput("instrument_id", f"{constants['instrument_id'][:60]!r} is no whole number")


def _listing(columns: Sequence[str]) -> str:
    shown = ", ".join(column[:40] for column in columns[:40])
    return f"columns found: {shown or 'none'}"
