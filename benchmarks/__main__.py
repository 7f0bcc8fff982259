"""`make bench`: everything, or `python -m benchmarks ranges small writes` for a part of it."""

import os
import sys
import tempfile
from pathlib import Path

from benchmarks import lab as laboratory
from benchmarks import reads, report, writes
from benchmarks.lab import Api
from benchmarks.measure import Result

SIZE = int(os.environ.get("SIZE", "1000000"))
TIMES = int(os.environ.get("TIMES", "5"))
SECONDS = float(os.environ.get("SECONDS", "3"))
PARTS = ("ranges", "small", "writes")


def _naive(url: str) -> Api:
    return Api([sys.executable, "-m", "uvicorn", "benchmarks.naive:app", "--no-access-log"], url)


def main(parts: list[str]) -> None:
    """Measure, print, write the report."""
    results: list[Result] = []
    with laboratory.lab(SIZE) as lab, tempfile.TemporaryDirectory() as folder:
        ours = laboratory.ours(lab.url)
        try:
            if "ranges" in parts:
                results += reads.ranges(lab, ours, TIMES)
                results.append(reads.first_byte(ours, TIMES))
            if "small" in parts:
                naive = _naive(lab.url)
                results += reads.small(ours, naive, SECONDS)
                naive.close()
            if "writes" in parts:
                results += writes.writes(lab, ours, Path(folder), min(SIZE, 1_000_000), max(TIMES // 2, 1))
        finally:
            ours.close()
    report.show(results)
    print(f"report: {report.write(results, SIZE)}")


if __name__ == "__main__":
    chosen = sys.argv[1:] or list(PARTS)
    if unknown := sorted(set(chosen) - set(PARTS)):
        sys.exit(f"unknown part {', '.join(unknown)}: choose from {', '.join(PARTS)}")
    main(chosen)
