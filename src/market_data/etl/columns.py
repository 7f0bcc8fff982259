"""Cells as vendors and files write them, to columns: exact doubles and stamps, no loop per row, no vendor.

Each reader returns a column and a mask of the rows whose cell is present but is no number or time. An absent
cell is NaN (NaT) and not in the mask.
"""

import io
from collections.abc import Callable, Collection, Sequence
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from market_data.core.bars import Floats
from market_data.core.interval import Stamps
from market_data.etl.raw import RawBars

Flags = NDArray[np.bool_]
Numbers = tuple[Floats, Flags]
Times = tuple[Stamps, Flags]

ABSENT = ("", "null", "None")
_UNITS: dict[str, int] = {"s": 1_000_000, "ms": 1_000, "us": 1}


class TextTable:
    """Comma-separated text with a header: `lines[i]` is row i as it came, `column(name)` its cells.

    Raises:
        ValueError: no header, or a row with more or fewer cells than it (a body cut off in mid-row).

    """

    def __init__(self, text: str) -> None:
        header, *self.lines = [line for line in text.splitlines() if line.strip()] or [""]
        if "," not in header:
            raise ValueError("no comma-separated header")
        counts = pl.Series(self.lines, dtype=pl.String).str.count_matches(",", literal=True)
        if not (counts == header.count(",")).all():
            raise ValueError("rows of different lengths")
        self.names = [name.strip() for name in header.split(",")]
        self._cells = pl.read_csv(
            io.StringIO("\n".join([",".join(f"c{i}" for i in range(len(self.names))), *self.lines, ""])),
            infer_schema=False,
            quote_char=None,
        )

    def __len__(self) -> int:
        return len(self.lines)

    def column(self, name: str) -> pl.Series:
        """Return the cells under a heading as text.

        Raises:
            KeyError: no such heading.

        """
        if name not in self.names:
            raise KeyError(name)
        return self._cells[f"c{self.names.index(name)}"]


def numbers_from_text(cells: Sequence[str | None] | pl.Series, absent: Collection[str] = ABSENT) -> Numbers:
    """Read decimal text to the nearest doubles."""
    plain = pl.Series(cells, dtype=pl.String)
    read = plain.cast(pl.Float64, strict=False)
    if not read.null_count():  # the usual answer: every cell is a number and nothing else
        found = read.to_numpy()
        if not np.isnan(found).any():
            return found, np.zeros(len(found), "bool")
    text = plain.str.strip_chars()
    present = ~(text.is_null() | text.is_in(list(absent)))
    values = text.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy().copy()
    there = present.to_numpy()
    values[~there] = np.nan
    return values, there & np.isnan(values)


def numbers(cells: Sequence[float | None] | None, length: int) -> Numbers:
    """Take numbers as they were parsed; None is absent, and no list at all a column of absent cells.

    Raises:
        ValueError: there are more or fewer cells than `length`.

    """
    if cells is None:
        return np.full(length, np.nan), np.zeros(length, "bool")
    if len(cells) != length:
        raise ValueError(f"columns of {length} and {len(cells)} cells")
    values = np.array([np.nan if cell is None else cell for cell in cells], "float64")
    return values, np.zeros(length, "bool")


def epochs(cells: Sequence[int], unit: Literal["s", "ms", "us"]) -> Times:
    """Read counts since 1970-01-01 UTC; they must lie within the years 1 to 9999."""
    stamps = (np.array(cells, "int64") * _UNITS[unit]).astype("datetime64[us]")
    return stamps, np.zeros(len(stamps), "bool")


def wall_times(cells: Sequence[str] | pl.Series) -> Times:
    """Read `2024-01-02` or `2024-01-02 09:30:00`, in whatever zone the page declares."""
    text = pl.Series(cells, dtype=pl.String).str.strip_chars()
    text = pl.select(pl.when(text.str.len_chars() == 10).then(text + " 00:00:00").otherwise(text)).to_series()
    stamps = text.str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", strict=False)
    return stamps.to_numpy().astype("datetime64[us]"), stamps.is_null().to_numpy()


def raw_bars(
    stamp: Times,
    prices: Sequence[Numbers],
    volume: Numbers | None,
    text: Callable[[int], str],
    running: Flags | None = None,
) -> RawBars:
    """Put columns of one length together; `prices` are open, high, low, close."""
    length = len(stamp[0])
    volume = volume or numbers(None, length)
    unreadable = np.logical_or.reduce([flags for _, flags in (stamp, *prices, volume)])
    opens, highs, lows, closes = (values for values, _ in prices)
    return RawBars(
        stamp=stamp[0],
        open=opens,
        high=highs,
        low=lows,
        close=closes,
        volume=volume[0],
        text=text,
        running=np.zeros(length, "bool") if running is None else running,
        unreadable=unreadable,
    )


def no_bars() -> RawBars:
    """Return columns of length 0, for a page that says only what a symbol is."""
    stamps: Stamps = np.array([], "datetime64[us]")
    nothing = numbers([], 0)
    return raw_bars((stamps, np.array([], "bool")), [nothing] * 4, None, str)
