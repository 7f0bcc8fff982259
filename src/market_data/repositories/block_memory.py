"""Sealed blocks decoded before: pages of history need no second look at the database.

What is remembered is a step: going through a series from a place, which block comes first, and its bars, with
the version the series had in that moment. It holds for whoever asks about a version of a range that is not
newer, as every change in a range gives that range a newer version. Steps of one version fit together.
"""

from dataclasses import dataclass

from market_data.core.bars import Bars
from market_data.core.bounded_cache import BoundedCache
from market_data.core.vocabulary import SortOrder

_BYTES_PER_BAR = 48
_BYTES_PER_STEP = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """The first block from some place on: its number, and all its bars in order of time."""

    version: int
    """That of the series when it was read."""
    number: int
    bars: Bars


class BlockMemory:
    """Keeps the steps used last, in bounded memory."""

    def __init__(self, most_bytes: int) -> None:
        self._steps: BoundedCache[tuple[int, int, SortOrder], Step] = BoundedCache(most_bytes)

    def find(self, series_id: int, place: int, sort: SortOrder) -> Step | None:
        """Return the first block of a series from a place on, where it is known."""
        return self._steps.get((series_id, place, sort))

    def keep(self, series_id: int, place: int, sort: SortOrder, step: Step) -> None:
        """Remember the first block of a series from a place on."""
        size = _BYTES_PER_STEP + len(step.bars) * _BYTES_PER_BAR
        self._steps.put((series_id, place, sort), step, size)
