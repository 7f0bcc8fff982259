"""From a chunk of rows to series: columns get their meaning, keys are read, rows are grouped by them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from market_data.core.bars import PRICES
from market_data.core.exceptions import InvalidInput
from market_data.core.interval import Interval, Stamps
from market_data.etl.raw import RawBars
from market_data.etl.readers.cells import Numbers, names, numbers, why_no_number
from market_data.etl.readers.chunk import Chunk
from market_data.etl.readers.layout import KEYS, Layout, RowOptions, resolve
from market_data.etl.readers.stamps import stamps
from market_data.etl.transformers.rejection import Faults, Reason, Rejections

_NAME = r"^[!-+\--~]{1,64}$"
"""Printable ASCII without space and comma; long enough for `exchange:symbol`."""


@dataclass(frozen=True, slots=True)
class SeriesKey:
    """What rows of one series have in common, as they name it: a symbol, or an instrument id, never both."""

    symbol: str | None
    exchange: str | None
    instrument_id: int | None
    interval: Interval


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Rows of one key, in their order in the file."""

    key: SeriesKey
    rows: RawBars
    order: NDArray[np.intp]
    """Which row of the chunk each is; ascending."""


def join_groups(groups: Sequence[Group]) -> RawBars:
    """Return the rows of groups that turned out to be one series, in their order in the file."""
    if len(groups) == 1:
        return groups[0].rows
    parts = [group.rows for group in groups]
    place = np.argsort(np.concatenate([group.order for group in groups]), kind="stable")
    owner = np.concatenate([np.full(len(part), number) for number, part in enumerate(parts)])[place]
    inner = np.concatenate([np.arange(len(part)) for part in parts])[place]
    columns = ("stamp", *PRICES, "volume", "running", "unreadable")
    return RawBars(
        **{name: np.concatenate([getattr(part, name) for part in parts])[place] for name in columns},
        text=lambda i: parts[owner[i]].text(int(inner[i])),
    )


class RowTable:
    """The rows of one chunk under our names. A row that cannot be grouped or read is in `rejections`.

    `len(chunk) == rejections.total + sum(len(group.rows) for group in groups())`. A row that has both an
    instrument id and a symbol belongs to the id.

    Raises:
        InvalidInput: a column is absent, ambiguous, of no use by its type, or contradicts a constant.
        UnreadableBody: a needed column holds nested or binary data.

    """

    def __init__(self, chunk: Chunk, options: RowOptions) -> None:
        self._table = chunk.table
        self._layout: Layout = resolve(chunk.table.columns, options, chunk.unusable)
        self._faults = Faults(chunk.table.height)
        self._keys = self._read_keys(options)
        self._ts = self._read_times(options)
        self._values = {name: self._read_numbers(name) for name in (*PRICES, "volume")}
        self.rejections = Rejections()
        """Broken lines of the chunk first, then rows."""
        self.rejections.extend(chunk.broken)
        self.rejections.add_all(self._faults, self.text, self._ts)

    def text(self, row: int) -> str:
        """Row of the chunk as it came, as a JSON object."""
        return json.dumps(self._table.row(row, named=True), default=str, ensure_ascii=False)

    def groups(self) -> Iterator[Group]:
        """Yield the good rows series by series, in the order of their first rows."""
        good = self._keys.with_row_index("row").filter(pl.Series(~self._faults.mask, dtype=pl.Boolean))
        grouped = good.group_by(KEYS, maintain_order=True).agg("row")
        rows = grouped["row"].explode(empty_as_null=False).to_numpy().astype(np.intp)
        keys, start = grouped.select(KEYS).iter_rows(), 0
        for (symbol, exchange, number, interval), count in zip(keys, grouped["row"].list.len(), strict=True):
            part = rows[start : start + count]
            yield Group(SeriesKey(symbol, exchange, number, Interval(interval)), self._bars(part), part)
            start += count

    def _bars(self, rows: NDArray[np.intp]) -> RawBars:
        nothing = np.zeros(len(rows), np.bool_)
        values = {name: self._values[name][rows] for name in (*PRICES, "volume")}
        return RawBars(
            stamp=self._ts[rows],
            **values,
            text=lambda i: self.text(int(rows[i])),
            running=nothing,
            unreadable=nothing,
        )

    def _read_numbers(self, name: str) -> NDArray[np.float64]:
        if name not in self._layout.columns:
            return np.full(self._table.height, np.nan)
        cells = self._table[self._layout.columns[name]]
        found: Numbers = numbers(cells, name)
        self._faults.add(found.unreadable, Reason.UNREADABLE, lambda i: f"{name}: {why_no_number(cells[i])}")
        return found.values

    def _read_times(self, options: RowOptions) -> Stamps:
        parts = [self._table[column] for column in self._layout.ts]
        if len(parts) > 1:
            text = [part if part.dtype.is_temporal() else names(part, "ts") for part in parts]
            parts = [pl.select(pl.concat_str(text, separator=" ")).to_series()]
        return stamps(parts[0], options.timezone, options.ts_format, self._faults)

    def _read_keys(self, options: RowOptions) -> pl.DataFrame:
        """Symbol, exchange, instrument_id and interval of every row; faults where they say no series."""
        symbol, exchange, number, interval = (self._key_column(name, options) for name in KEYS)
        ids = self._ids(number)
        if number.null_count() < len(number):
            symbol, exchange = (cells.set(number.is_not_null(), None) for cells in (symbol, exchange))
        self._faults.add(
            (symbol.is_null() & number.is_null()).to_numpy(),
            Reason.MISSING_VALUE,
            lambda _: "The row names no symbol and no instrument_id.",
        )
        self._check_names(symbol, "symbol")
        self._check_names(exchange, "exchange")
        return pl.DataFrame([symbol, exchange, ids, self._intervals(interval)], schema=KEYS)

    def _key_column(self, name: str, options: RowOptions) -> pl.Series:
        """Text of a key in every row, from its column or its constant.

        Raises:
            InvalidInput: the column says something else than the constant.

        """
        constant = options.constants.get(name)
        column = self._layout.columns.get(name)
        if column is None:
            return pl.Series(name, [constant], dtype=pl.String).new_from_index(0, self._table.height)
        cells = names(self._table[column], name)
        if constant is None:
            return cells
        meaning = _interval if name == "interval" else str.strip
        for text in cells.drop_nulls().unique(maintain_order=True):
            if meaning(text) != meaning(constant):
                raise InvalidInput(name, f"given as {constant!r}, but column {column!r} holds {text[:60]!r}")
        return cells.fill_null(constant.strip())

    def _ids(self, cells: pl.Series) -> pl.Series:
        ids = cells.cast(pl.Int64, strict=False)
        if cells.null_count() == len(cells):
            return ids
        bad = cells.is_not_null() & (ids.is_null() | (ids <= 0))
        self._faults.add(
            bad.fill_null(value=True).to_numpy(),
            Reason.UNREADABLE,
            lambda i: f"instrument_id: {cells[i][:60]!r} is no positive whole number.",
        )
        return ids

    def _check_names(self, cells: pl.Series, name: str) -> None:
        known = cells.unique().drop_nulls()
        odd = known.filter(~known.str.contains(_NAME))
        if len(odd):
            self._faults.add(
                cells.is_in(odd.implode()).fill_null(value=False).to_numpy(),
                Reason.UNREADABLE,
                lambda i: (
                    f"{name}: {cells[i][:60]!r} is not 1 to 64 ASCII characters without comma or space."
                ),
            )

    def _intervals(self, cells: pl.Series) -> pl.Series:
        self._faults.add(
            cells.is_null().to_numpy(), Reason.MISSING_VALUE, lambda _: "The row names no interval."
        )
        spelled = cells.unique().drop_nulls()
        read = [_interval(text) for text in spelled]
        intervals = cells.replace_strict(spelled, pl.Series(read, dtype=pl.String), default=None)
        self._faults.add(
            (intervals.is_null() & cells.is_not_null()).to_numpy(),
            Reason.UNKNOWN_INTERVAL,
            lambda i: _why_no_interval(cells[i]),
        )
        return intervals


def _interval(text: str) -> str | None:
    try:
        return Interval.parse(text)
    except ValueError:
        return None


def _why_no_interval(text: str) -> str:
    try:
        Interval.parse(text)
    except ValueError as error:
        return f"{error}."
    raise AssertionError(text)
