"""Bars as a vendor or a file wrote them, before any rule was applied."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from market_data.core.bars import Floats
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
