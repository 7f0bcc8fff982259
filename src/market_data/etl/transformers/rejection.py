"""Why rows were refused, in words a person can act on, counted without limit and kept within one."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from market_data.core.interval import Stamps

KEPT = 10_000
"""Rejections of which the text is kept; all are counted."""

TEXT_BYTES = 4096
"""UTF-8 bytes kept of a raw row."""

Mask = NDArray[np.bool_]


class Reason(StrEnum):
    """Stable codes. The normaliser checks in this order, but for times first: the first violated one wins."""

    UNREADABLE = "unreadable"
    MISSING_VALUE = "missing_value"
    NAIVE_TIME = "naive_time"
    OUT_OF_YEARS = "out_of_years"
    AMBIGUOUS_TIME = "ambiguous_time"
    NONEXISTENT_TIME = "nonexistent_time"
    UNKNOWN_INTERVAL = "unknown_interval"
    FUTURE = "future"
    NOT_FINITE = "not_finite"
    HIGH_BELOW_LOW = "high_below_low"
    OPEN_OUTSIDE_RANGE = "open_outside_range"
    CLOSE_OUTSIDE_RANGE = "close_outside_range"
    NOT_POSITIVE = "not_positive"
    NEGATIVE_VOLUME = "negative_volume"
    MISALIGNED = "misaligned"
    CONFLICTING_DUPLICATE = "conflicting_duplicate"


@dataclass(frozen=True, slots=True)
class Rejection:
    """One refused row: a stable code, a sentence, the row as it came, and its bar start (UTC) where known."""

    reason: str
    detail: str
    text: str
    ts: datetime | None = None


def cut(text: str) -> str:
    """Return text fit to be stored: at most `TEXT_BYTES` of valid UTF-8, no NUL (PostgreSQL has none)."""
    head = text[:TEXT_BYTES].replace("\x00", "\ufffd")
    return head.encode("utf-8", "replace")[:TEXT_BYTES].decode("utf-8", "ignore")


class Rejections:
    """The first `KEPT` rejections in order of arrival, and the counts of all by reason."""

    def __init__(self) -> None:
        self._kept: list[Rejection] = []
        self._counts: Counter[str] = Counter()

    @property
    def kept(self) -> Sequence[Rejection]:
        """The first `KEPT` rejections."""
        return self._kept

    @property
    def counts(self) -> Mapping[str, int]:
        """How many rows each reason refused."""
        return self._counts

    @property
    def total(self) -> int:
        """How many rows were refused."""
        return self._counts.total()

    def add(self, reason: str, detail: str, text: str = "", ts: datetime | None = None) -> None:
        """Refuse one row."""
        self._counts[reason] += 1
        if len(self._kept) < KEPT:
            self._kept.append(Rejection(reason, cut(detail), cut(text), ts))

    def extend(self, other: "Rejections") -> None:
        """Add all of another collection behind these."""
        self._counts.update(other.counts)
        self._kept.extend(other.kept[: KEPT - len(self._kept)])

    def add_all(self, faults: "Faults", text: Callable[[int], str], ts: Stamps | None = None) -> None:
        """Refuse every faulty row; sentences and texts are built for the kept ones only.

        `text(i)` is raw row i; `ts` its bar start (datetime64[us], UTC), NaT where unknown.
        """
        rows = np.flatnonzero(faults.first)
        self._counts.update(faults.counts())
        for row in map(int, rows[: KEPT - len(self._kept)]):
            reason, describe = faults.rule(row)
            self._kept.append(Rejection(reason, cut(describe(row)), cut(text(row)), _instant(ts, row)))


def _instant(ts: Stamps | None, row: int) -> datetime | None:
    found = None if ts is None else ts[row].item()
    return found.replace(tzinfo=UTC) if isinstance(found, datetime) else None


class Faults:
    """Which rule each of n rows violates first; rules are added in order of precedence."""

    def __init__(self, rows: int) -> None:
        self.first: NDArray[np.int16] = np.zeros(rows, np.int16)
        """0 for a good row, else the number of its rule, from 1."""
        self._rules: list[tuple[str, Callable[[int], str]]] = []

    @property
    def mask(self) -> Mask:
        """Rows with a fault."""
        faulty: Mask = self.first != 0
        return faulty

    def add(self, mask: Mask, reason: str, describe: Callable[[int], str]) -> None:
        """Mark rows that violate this rule and none before it; `describe(i)` says how row i does."""
        if mask.any() and (fresh := mask & (self.first == 0)).any():
            self._rules.append((reason, describe))
            self.first[fresh] = len(self._rules)

    def rule(self, row: int) -> tuple[str, Callable[[int], str]]:
        """Return the reason of a faulty row and what describes it."""
        return self._rules[int(self.first[row]) - 1]

    def counts(self) -> Counter[str]:
        """How many rows each reason refused."""
        found: Counter[str] = Counter()
        per_rule = np.bincount(self.first, minlength=len(self._rules) + 1)[1:]
        for (reason, _), count in zip(self._rules, per_rule.tolist(), strict=True):
            found[reason] += count
        return found
