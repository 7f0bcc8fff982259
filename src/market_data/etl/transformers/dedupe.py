"""One bar for each start: of several the last wins, as in a file that corrects itself further down."""

import numpy as np
from numpy.typing import NDArray

from market_data.core.bars import PRICES, Bars
from market_data.core.interval import Stamps
from market_data.etl.raw import RawBars
from market_data.etl.transformers.rejection import Faults, Reason

_VALUES = (*PRICES, "volume")

Rows = NDArray[np.intp]


def dedupe(rows: RawBars, ts: Stamps, candidates: Rows, faults: Faults) -> tuple[Bars, int]:
    """Sort the candidate rows by start and keep the last of each.

    Earlier ones with other values are marked `conflicting_duplicate`; equal ones are only counted, in the
    second value returned. `candidates` are ascending positions of valid rows.
    """
    starts = ts[candidates]
    if (starts[1:] > starts[:-1]).all():
        return _bars(rows, ts, candidates), 0
    order = candidates[np.argsort(starts, kind="stable")]
    last = np.append(ts[order][1:] != ts[order][:-1], np.True_)
    winners = order[last]
    earlier = order[~last]
    winner = winners[np.cumsum(last) - last][~last]
    conflicting = np.logical_or.reduce([_differs(rows, name, earlier, winner) for name in _VALUES])
    _mark(rows, faults, earlier[conflicting], winner[conflicting])
    return _bars(rows, ts, winners), int((~conflicting).sum())


def _differs(rows: RawBars, name: str, these: Rows, those: Rows) -> NDArray[np.bool_]:
    column = getattr(rows, name)
    a, b = column[these], column[those]
    differs: NDArray[np.bool_] = (a != b) & ~(np.isnan(a) & np.isnan(b))
    return differs


def _mark(rows: RawBars, faults: Faults, earlier: Rows, winner: Rows) -> None:
    mask = np.zeros(len(rows), np.bool_)
    mask[earlier] = True
    # Only the few rejections that are kept ask for their sentence, so a search is cheap enough.
    by_row = np.argsort(earlier)
    ordered = earlier[by_row]

    def describe(row: int) -> str:
        later = int(winner[by_row[np.searchsorted(ordered, row)]])
        pairs = ((name, getattr(rows, name)) for name in _VALUES)
        changed = (
            f"{name} {column[row]!s} became {column[later]!s}"
            for name, column in pairs
            if not np.array_equal(column[row], column[later], equal_nan=True)
        )
        return f"A later row of the same start says otherwise: {', '.join(changed)}."

    faults.add(mask, Reason.CONFLICTING_DUPLICATE, describe)


def _bars(rows: RawBars, ts: Stamps, which: Rows) -> Bars:
    return Bars(ts, rows.open, rows.high, rows.low, rows.close, rows.volume).take(which)
