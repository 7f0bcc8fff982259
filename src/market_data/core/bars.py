"""Bars as columns: what travels between a provider, the database and a client."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from market_data.core.interval import Stamps

Floats = NDArray[np.float64]

PRICES = ("open", "high", "low", "close")
COLUMNS = ("symbol", "ts", *PRICES, "volume")
"""The seven columns of a bar, the same in every format."""


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """Bars of one series in parallel columns of one length n.

    `ts` datetime64[us] UTC, the start of each bar; prices float64; volume float64, NaN where absent.
    """

    ts: Stamps
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    def __len__(self) -> int:
        return len(self.ts)

    @classmethod
    def empty(cls) -> Self:
        """No bars."""
        none = np.empty(0, "float64")
        return cls(np.empty(0, "datetime64[us]"), none, none, none, none, none)

    def columns(self) -> tuple[Stamps, Floats, Floats, Floats, Floats, Floats]:
        """Return the six columns in their fixed order."""
        return self.ts, self.open, self.high, self.low, self.close, self.volume

    def take(self, which: NDArray[np.intp] | NDArray[np.bool_] | slice) -> Self:
        """Return the chosen rows: positions, a mask or a slice."""
        ts, *floats = self.columns()
        return type(self)(ts[which], *(column[which] for column in floats))

    def turned(self) -> Self:
        """Return the rows in the other order, as columns that lie in memory as they are read."""
        ts, *floats = self.columns()
        back = (np.ascontiguousarray(column[::-1]) for column in floats)
        return type(self)(np.ascontiguousarray(ts[::-1]), *back)

    @classmethod
    def concat(cls, parts: Sequence["Bars"]) -> "Bars":
        """Join parts in their order."""
        if not parts:
            return cls.empty()
        return cls(
            np.concatenate([part.ts for part in parts]),
            *(np.concatenate([getattr(part, name) for part in parts]) for name in (*PRICES, "volume")),
        )
