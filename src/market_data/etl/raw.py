"""Bars as a vendor or a file wrote them, before any rule was applied."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from market_data.core.bars import PRICES, Floats
from market_data.core.interval import Stamps


@dataclass(frozen=True, slots=True, eq=False)
class RawBars:
    """Rows of one series in parallel columns of one length n: any order, duplicates and nonsense included.

    `stamp` datetime64[us]: UTC instants, or wall-clock times of the page's zone (`wall_clock`); NaT where it
    could not be read. Prices and volume float64: NaN where absent or unreadable (`unreadable` tells which).
    `running` marks rows the vendor itself declares half-finished. `text(i)` is row i as it came, for people.
    """

    stamp: Stamps
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    text: Callable[[int], str]
    running: NDArray[np.bool_]
    unreadable: NDArray[np.bool_]
    """Rows in which a cell was present but is no number or time (absent is not unreadable)."""

    def __len__(self) -> int:
        return len(self.stamp)

    @classmethod
    def concat(cls, parts: Sequence["RawBars"]) -> "RawBars":
        """Join parts, at least one, in their order."""
        if len(parts) == 1:
            return parts[0]
        starts = np.cumsum([0, *(len(part) for part in parts)])

        def text(row: int) -> str:
            owner = int(np.searchsorted(starts, row, side="right")) - 1
            return parts[owner].text(row - int(starts[owner]))

        columns = ("stamp", *PRICES, "volume", "running", "unreadable")
        joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in columns}
        return cls(**joined, text=text)
