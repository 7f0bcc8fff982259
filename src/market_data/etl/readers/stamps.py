"""Times as files write them: ISO 8601, dates, epoch numbers, Arrow timestamps, or a pattern the user gives.

Epoch numbers tell their unit by magnitude: 1e8 to 1e10 seconds (1973 to 2286), and a thousand times more for
each of milliseconds, microseconds and nanoseconds. Whole numbers of 8 digits are dates such as 20240102.
"""

import re
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from market_data.core.exceptions import InvalidInput
from market_data.core.interval import Stamps
from market_data.etl.readers.cells import absent_as_null
from market_data.etl.transformers.localise import day_start, to_utc
from market_data.etl.transformers.rejection import Faults, Mask, Reason

_DAYS = ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d")
_TIMES = ("%H:%M:%S%.f", "%H:%M", "%H%M%S", "%H%M")
_ZONED = ("%Y-%m-%dT%H:%M:%SZ", "%+", "%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z", "%Y-%m-%d %H:%M%#z")
_NAIVE = (
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%dT%H:%M",
    *(f"{day} {time}" for day in (*_DAYS, "%Y%m%d") for time in _TIMES),
)
_CLOCK = ("%H", "%I", "%k", "%l", "%T", "%R", "%r", "%X", "%c")
_YEAR_1000 = np.datetime64("1000-01-01", "us")
_DAY_OR_MONTH = re.compile(r"\s*\d{1,2}[/.-]\d{1,2}[/.-]\d{2,4}")
_NAT = np.datetime64("NaT", "us")
_EPOCHS = ((1e8, 1e10, 1e6), (1e11, 1e13, 1e3), (1e14, 1e16, 1.0), (1e17, 1e19, 1e-3))
"""From, below, and microseconds in one: s, ms, us, ns."""


@dataclass(slots=True, eq=False)
class _Found:
    """What was read so far: instants, wall-clock times and dates; NaT where the cell is no such thing."""

    instants: Stamps
    walls: Stamps
    dates: Stamps
    absent: Mask

    @classmethod
    def nothing(cls, cells: pl.Series) -> "_Found":
        absent = cells.is_null().to_numpy().copy()
        instants, walls, dates = np.full((3, len(cells)), _NAT)
        return cls(instants, walls, dates, absent)

    def lacks(self) -> Mask:
        lacking: Mask = np.isnat(self.instants) & np.isnat(self.walls) & np.isnat(self.dates)
        return lacking


def stamps(cells: pl.Series, timezone: str | None, ts_format: str | None, faults: Faults) -> Stamps:
    """Read cells as instants (UTC); NaT where absent, or faulty and then marked in `faults`.

    Times without an offset are wall-clock times of `timezone`, or faults where that is None. A date alone is
    the start of that day, in `timezone` or UTC.

    Raises:
        InvalidInput: the column's type holds no times, or `timezone` or `ts_format` is wrong.

    """
    found = _read(cells, ts_format)
    faults.add(
        found.lacks() & ~found.absent, Reason.UNREADABLE, lambda i: _why_unreadable(cells[i], ts_format)
    )
    return _to_instants(found, cells, timezone, faults)


def _to_instants(found: _Found, cells: pl.Series, timezone: str | None, faults: Faults) -> Stamps:
    naive = ~np.isnat(found.walls)
    if timezone is None:
        faults.add(
            naive,
            Reason.NAIVE_TIME,
            lambda i: f"{cells[i]!s} has no offset: write Z or an offset such as -05:00 behind it.",
        )
        return np.where(np.isnat(found.dates), found.instants, found.dates)
    local = to_utc(found.walls, timezone)
    clock = f"the clock in {timezone}"
    faults.add(
        local.ambiguous,
        Reason.AMBIGUOUS_TIME,
        lambda i: f"{cells[i]!s} was shown twice by {clock} (set back); write it with its offset.",
    )
    faults.add(
        local.nonexistent,
        Reason.NONEXISTENT_TIME,
        lambda i: f"{cells[i]!s} was never shown by {clock} (set forward); check the time zone.",
    )
    days = day_start(found.dates, timezone)
    lost = (naive & np.isnat(local.ts)) | (~np.isnat(found.dates) & np.isnat(days))
    faults.add(lost, Reason.OUT_OF_YEARS, lambda i: f"{cells[i]!s} is in no year that can be stored.")
    ts = np.where(np.isnat(local.ts), found.instants, local.ts)
    return np.where(np.isnat(days), ts, days)


def _read(cells: pl.Series, ts_format: str | None) -> _Found:
    found = _Found.nothing(cells)
    dtype = cells.dtype
    if isinstance(dtype, pl.Datetime):
        values = cells.dt.replace_time_zone(None).to_numpy().astype("datetime64[us]")
        if dtype.time_zone is None:
            found.walls = values
        else:
            found.instants = values
    elif dtype == pl.Date:
        found.dates = cells.to_numpy().astype("datetime64[us]")
    elif dtype == pl.String:
        _read_text(cells, ts_format, found)
    elif dtype.is_numeric() and not dtype.is_decimal():
        _read_numbers(cells, np.arange(len(cells)), found)
    elif dtype != pl.Null:
        raise InvalidInput("ts", f"column {cells.name!r} is of type {dtype}, which holds no times")
    return found


def _read_text(cells: pl.Series, ts_format: str | None, found: _Found) -> None:
    """Read all by the pattern that fits the first cell; on what is left try each."""
    attempts = _ATTEMPTS if ts_format is None else ((ts_format, _kind(ts_format)),)
    first = cells.drop_nulls().head(1)
    best = next((fit for fit in attempts if not np.isnat(_parse(first, *fit)).any()), attempts[0])
    _fill(found, best[1], np.arange(len(cells)), _parse(cells, *best))
    rows = np.flatnonzero(found.lacks())
    if not len(rows):
        return
    part = absent_as_null(cells.gather(rows))
    found.absent[rows] = part.is_null().to_numpy()
    for pattern, kind in attempts:
        rows = rows[part.is_not_null().to_numpy()]
        part = part.drop_nulls()
        parsed = _parse(part, pattern, kind)
        _fill(found, kind, rows, parsed)
        part = part.set(pl.Series(~np.isnat(parsed)), None)
    if ts_format is None:
        _read_numbers(part, rows, found)


def _fill(found: _Found, kind: str, rows: NDArray[np.intp], parsed: Stamps) -> None:
    done = ~np.isnat(parsed)
    getattr(found, kind)[rows[done]] = parsed[done]


_ATTEMPTS = (
    *((pattern, "instants") for pattern in _ZONED),
    *((pattern, "dates") for pattern in _DAYS),
    *((pattern, "walls") for pattern in _NAIVE),
)


def _kind(pattern: str) -> str:
    if any(code in pattern for code in ("%z", "%:z", "%#z", "%+", "%s")):
        return "instants"
    return "walls" if any(code in pattern for code in _CLOCK) else "dates"


def _parse(cells: pl.Series, pattern: str, kind: str) -> Stamps:
    """Parse text by a pattern; NaT where it does not fit, or where the year has not four digits."""
    if pattern.startswith("%Y%m%d "):  # which would take 2024012 for the 2nd of January
        cells = cells.set(~cells.str.contains(r"^\d{8} "), None)
    if kind == "dates":
        parsed = cells.str.to_date(pattern, strict=False).cast(pl.Datetime("us"))
    else:
        parsed = cells.str.to_datetime(pattern, time_unit="us", strict=False).dt.replace_time_zone(None)
    read: Stamps = parsed.to_numpy().astype("datetime64[us]")
    return np.where(read < _YEAR_1000, _NAT, read)


def _read_numbers(cells: pl.Series, rows: NDArray[np.intp], found: _Found) -> None:
    """Read numbers as epochs or dates of 8 digits; `rows` are their places in the column.

    A double tells even nanoseconds of today to an eighth of a microsecond, so whole microseconds stay exact.
    """
    values = cells.cast(pl.Float64, strict=False).to_numpy()
    for low, high, scale in _EPOCHS:
        chosen = (values >= low) & (values < high)
        found.instants[rows[chosen]] = np.rint(values[chosen] * scale).astype("datetime64[us]")
    compact = (values >= 1e7) & (values < 1e8) & (values % 1 == 0)
    if compact.any():
        digits = pl.Series(values[compact].astype(np.int64)).cast(pl.String)
        found.dates[rows[compact]] = _parse(digits, "%Y%m%d", "dates")


def _why_unreadable(cell: object, ts_format: str | None) -> str:
    text = str(cell)[:80]
    if ts_format is not None:
        return f"{text!r} does not fit the pattern {ts_format!r}."
    if _DAY_OR_MONTH.match(text):
        return f"{text!r} may be day/month or month/day: give the pattern, such as --ts-format %m/%d/%Y."
    return f"{text!r} is no time: write 2024-01-02 or 2024-01-02T09:30:00Z, or give --ts-format."
