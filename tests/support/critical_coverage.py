"""Fails unless coverage is what it must be: all of the critical parts, branches too, and 90 % of the whole.

Run after `pytest --cov`, from the project's folder; the Makefile does.
"""

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import coverage
from coverage.exceptions import CoverageException

CRITICAL = {
    "services": "*/market_data/services/*",
    "transformers": "*/market_data/etl/transformers/*",
    "repositories": "*/market_data/repositories/*",
    "paging": "*/market_data/services/paging.py",
}
WHOLE = 90.0


@dataclass(frozen=True)
class Measured:
    """How much of a part ran."""

    part: str
    percent: float
    needed: float

    @property
    def enough(self) -> bool:
        return self.percent >= self.needed


def measure(data: coverage.Coverage, part: str, include: Sequence[str] | None, needed: float) -> Measured:
    """Return a part's share of lines and branches that ran; a part that is not there has none."""
    try:
        percent = data.report(include=include, file=io.StringIO(), skip_covered=False)
    except CoverageException:
        percent = 0.0
    return Measured(part, percent, needed)


def main() -> int:
    """Print a line for each part; 1 where one falls short."""
    data = coverage.Coverage()
    data.load()
    found = [measure(data, part, [pattern], 100.0) for part, pattern in CRITICAL.items()]
    found.append(measure(data, "everything", None, WHOLE))
    print("coverage, lines and branches")
    for one in found:
        verdict = "" if one.enough else f"  needs {one.needed:g} %"
        print(f"  {one.part:<14}{one.percent:7.2f} %{verdict}")
    return 0 if all(one.enough for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
