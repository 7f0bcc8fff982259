"""The rules a bar's values must obey, each with its own reason, in order of precedence."""

import numpy as np

from market_data.core.bars import PRICES
from market_data.core.interval import Alignment, Stamps
from market_data.etl.raw import RawBars
from market_data.etl.transformers.rejection import Faults, Mask, Reason
from market_data.etl.transformers.rules import Rules


def check_values(rows: RawBars, ts: Stamps, rules: Rules, faults: Faults, where: Mask) -> None:
    """Mark rows of `where` that are no valid bar.

    In order: `unreadable`, `missing_value`, `not_finite`, `high_below_low`, `open_outside_range`,
    `close_outside_range`, `not_positive` (unless any sign is allowed), `negative_volume`, `misaligned`.
    """
    _check_presence(rows, faults, where)
    _check_prices(rows, rules, faults, where)
    negative = where & (rows.volume < 0)
    faults.add(negative, Reason.NEGATIVE_VOLUME, lambda i: f"The volume {rows.volume[i]!s} is negative.")
    off_grid = where & ~rules.interval.aligned(ts, rules.alignment)
    faults.add(off_grid, Reason.MISALIGNED, lambda i: _misaligned(ts, rules, i))


def _check_presence(rows: RawBars, faults: Faults, where: Mask) -> None:
    prices = {name: getattr(rows, name) for name in PRICES}
    faults.add(where & rows.unreadable, Reason.UNREADABLE, lambda _: "A value is present but is no number.")
    absent = where & np.logical_or.reduce([np.isnan(column) for column in prices.values()])
    faults.add(
        absent,
        Reason.MISSING_VALUE,
        lambda i: f"Absent: {', '.join(name for name, column in prices.items() if np.isnan(column[i]))}.",
    )
    cells = {**prices, "volume": rows.volume}
    infinite = where & np.logical_or.reduce([np.isinf(column) for column in cells.values()])
    faults.add(
        infinite,
        Reason.NOT_FINITE,
        lambda i: f"Not finite: {', '.join(name for name, column in cells.items() if np.isinf(column[i]))}.",
    )


def _check_prices(rows: RawBars, rules: Rules, faults: Faults, where: Mask) -> None:
    def outside(name: str, row: int) -> str:
        value = getattr(rows, name)[row]
        return f"The {name} {value!s} lies outside low {rows.low[row]!s} to high {rows.high[row]!s}."

    faults.add(
        where & (rows.high < rows.low),
        Reason.HIGH_BELOW_LOW,
        lambda i: f"The high {rows.high[i]!s} is below the low {rows.low[i]!s}.",
    )
    faults.add(
        where & ((rows.open < rows.low) | (rows.open > rows.high)),
        Reason.OPEN_OUTSIDE_RANGE,
        lambda i: outside("open", i),
    )
    faults.add(
        where & ((rows.close < rows.low) | (rows.close > rows.high)),
        Reason.CLOSE_OUTSIDE_RANGE,
        lambda i: outside("close", i),
    )
    if not rules.any_sign:
        faults.add(
            where & (rows.low <= 0),
            Reason.NOT_POSITIVE,
            lambda i: f"The low {rows.low[i]!s} is not positive; only rates and futures may be.",
        )


def _misaligned(ts: Stamps, rules: Rules, row: int) -> str:
    """Name the nearest starts; where the session would allow it, say so."""
    interval, one = rules.interval, ts[row : row + 1]
    before = interval.floor(one)
    hint = ""
    if rules.alignment is Alignment.UTC and interval.aligned(one, Alignment.SESSION)[0]:
        hint = " It would fit bars aligned to a session's open (alignment session)."
    grid = f"{before[0]}Z or {interval.end(before)[0]}Z"
    return f"{one[0]}Z starts no {interval} bar; the nearest start at {grid}.{hint}"
