"""From rows as they came to valid bars: label, cut, settle, judge, de-duplicate.

A row ends in exactly one place, so that for every input
`len(rows) == len(bars) + unfinished + rejections.total + duplicates + out_of_range`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from market_data.core.bars import Bars
from market_data.core.interval import Stamps, aware
from market_data.etl.raw import RawBars
from market_data.etl.transformers.checks import check_values
from market_data.etl.transformers.dedupe import dedupe
from market_data.etl.transformers.label import bar_span, bar_starts
from market_data.etl.transformers.localise import FIRST_YEAR, LAST_YEAR, in_years
from market_data.etl.transformers.rejection import Faults, Mask, Reason, Rejections
from market_data.etl.transformers.rules import Rules, Unfinished

TOLERANCE = timedelta(minutes=5)
"""How far clocks may differ: a bar may end (HTTP) or start (elsewhere) this long after now."""

_EPOCH = np.datetime64(0, "us")


@dataclass(frozen=True, slots=True, eq=False)
class Normalised:
    """What became of the rows: valid bars in ascending unique `ts`, and how many went elsewhere."""

    bars: Bars
    rejections: Rejections
    unfinished: int
    """Bars not over yet: by the clock, or by the source's own mark."""
    duplicates: int
    """Rows equal in every value to the later one of the same start that was kept."""
    out_of_range: int
    """Rows outside the range asked for."""
    refused: Stamps
    """Starts of the rejected rows, where they have one, ascending."""
    unfinished_from: datetime | None
    """Start of the first bar that is not over yet."""


def normalise(rows: RawBars, rules: Rules) -> Normalised:
    """Judge rows by the rules of `docs` (contract, section 3). Pure: no clock, no I/O, rows stay as they are.

    Each row meets, in this order: its time (`unreadable`, `missing_value`, `out_of_years`, `ambiguous_time`,
    `nonexistent_time`), the range, `future`, unfinished, its values (see `check_values`), and duplicates.

    Raises:
        InvalidInput: the rules name no time zone there is.

    """
    faults = Faults(len(rows))
    ts = _starts(rows, rules, faults)
    outside = _outside(ts, rules) & ~faults.mask
    unfinished = _unsettled(rows, ts, rules, faults, outside)
    gone = outside | unfinished
    check_values(rows, ts, rules, faults, ~gone)
    candidates = np.flatnonzero(~(gone | faults.mask))
    bars, duplicates = dedupe(rows, ts, candidates, faults)
    rejections = Rejections()
    rejections.add_all(faults, rows.text, ts)
    refused = np.unique(ts[faults.mask & ~np.isnat(ts)])
    begun = aware(ts[unfinished].min()) if unfinished.any() else None
    return Normalised(bars, rejections, int(unfinished.sum()), duplicates, int(outside.sum()), refused, begun)


def _starts(rows: RawBars, rules: Rules, faults: Faults) -> Stamps:
    """Bar starts; NaT, with a fault, where there is none."""
    absent = np.isnat(rows.stamp)
    faults.add(absent & rows.unreadable, Reason.UNREADABLE, lambda _: "The time cannot be read.")
    faults.add(absent, Reason.MISSING_VALUE, lambda _: "The time (ts) is absent.")
    faults.add(~in_years(rows.stamp), Reason.OUT_OF_YEARS, lambda i: _out_of_years(rows.stamp, i))
    # The arithmetic of times knows no NaT: bad rows count as 1970 and are masked afterwards.
    found = bar_starts(np.where(faults.mask, _EPOCH, rows.stamp), rules)
    clock = f"the clock in {rules.timezone}"
    faults.add(
        found.ambiguous & ~faults.mask,
        Reason.AMBIGUOUS_TIME,
        lambda i: f"{rows.stamp[i]} was shown twice by {clock} (set back); write it with its offset.",
    )
    faults.add(
        found.nonexistent & ~faults.mask,
        Reason.NONEXISTENT_TIME,
        lambda i: f"{rows.stamp[i]} was never shown by {clock} (set forward); check the time zone.",
    )
    faults.add(~in_years(found.ts), Reason.OUT_OF_YEARS, lambda i: _out_of_years(rows.stamp, i))
    return np.where(faults.mask, np.datetime64("NaT", "us"), found.ts)


def _out_of_years(stamps: Stamps, row: int) -> str:
    return f"{stamps[row]} lies outside the years {FIRST_YEAR} to {LAST_YEAR} that can be stored."


def _outside(ts: Stamps, rules: Rules) -> Mask:
    outside: Mask = np.zeros(len(ts), np.bool_)
    if rules.start is not None:
        outside |= ts < _stamp(rules.start)
    if rules.end is not None:
        outside |= ts >= _stamp(rules.end)
    return outside


def _unsettled(rows: RawBars, ts: Stamps, rules: Rules, faults: Faults, outside: Mask) -> Mask:
    """Refuse bars of the future; return which of the others are not over."""
    known = ~(faults.mask | outside)
    begins, ends = bar_span(np.where(known, ts, _EPOCH), rules)
    now, limit = _stamp(rules.now), _stamp(rules.now + TOLERANCE)
    counting = rules.unfinished is Unfinished.COUNT
    what, late = ("starts", begins) if counting else ("ends", ends)
    running = known & rows.running & (begins <= limit)
    faults.add(
        known & (late > limit) & ~running,
        Reason.FUTURE,
        lambda i: f"The bar {what} at {late[i]}Z, over 5 minutes after now ({now}Z).",
    )
    over = ends + np.timedelta64(rules.settling) <= now
    if rules.final_until is not None:
        over |= ts < _stamp(rules.final_until)
    unsettled: Mask = running | (known & ~over) if counting else running
    return unsettled & ~faults.mask


def _stamp(moment: datetime) -> np.datetime64:
    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us")
