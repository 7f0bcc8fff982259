"""Made-up but realistic 1-minute bars: random walks with tick sizes, volumes and a few absent volumes."""

from dataclasses import dataclass

import numpy as np

from market_data.core.bars import Bars

FIRST = np.datetime64("2024-01-01", "us")
MINUTE = np.timedelta64(60_000_000, "us")


@dataclass(frozen=True, slots=True)
class Instrument:
    """One of the benchmark's instruments."""

    number: int
    rows: int

    @property
    def symbol(self) -> str:
        """Name, such as BENCH03."""
        return f"BENCH{self.number:02d}"


def instruments(size: int, count: int = 20, first_rows: int = 100_000) -> list[Instrument]:
    """Split `size` bars: the first instrument has 100k (one request reads them), the others the rest."""
    if size < 2 * count:
        raise ValueError(f"SIZE={size} is too small: at least {2 * count}")
    first = min(first_rows, size // 2)
    rest = (size - first) // (count - 1)
    return [Instrument(0, first), *(Instrument(n, rest) for n in range(1, count))]


def bars(seed: int, rows: int, start: np.datetime64 = FIRST) -> Bars:
    """Make `rows` bars from `start`, one a minute."""
    random = np.random.default_rng(seed)
    tick = 0.01 if seed % 2 == 0 else 0.0001
    level = 100.0 * (1 + seed % 5)
    steps = random.integers(-8, 9, rows) * tick
    close = np.round(level + np.cumsum(steps) * 0.1, 4)
    opening = np.concatenate(([close[0]], close[:-1]))
    above, below = random.integers(0, 6, (2, rows)) * tick
    high = np.round(np.maximum(opening, close) + above, 4)
    low = np.round(np.minimum(opening, close) - below, 4)
    volume = np.round(random.lognormal(5, 1.5, rows), 2 if seed % 3 else 0)
    volume[random.random(rows) < 0.001] = np.nan
    return Bars(start + np.arange(rows) * MINUTE, opening, high, low, close, volume)
