"""`make bench`: everything, or `python -m benchmarks PART...` for a part of it."""

import os
import sys
import tempfile
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from benchmarks import engine, growth, homes, lab, memory, reads, report, small, writes
from benchmarks.measure import Result

SIZE = int(os.environ.get("SIZE", "1000000"))
TIMES = int(os.environ.get("TIMES", "5"))
SECONDS = float(os.environ.get("SECONDS", "2"))
STREAMED = int(os.environ.get("STREAMED", "5000000"))
CSV_BYTES = int(os.environ.get("CSV_BYTES", str(2 * 1024**3)))
GROWN = int(os.environ.get("GROWN", "50000000"))
_FRAMES = {"FRAME_CACHE_BYTES": str(128 * 1024**2)}


def _ranges(stored: lab.Lab) -> Iterable[Result]:
    with closing(lab.ours(stored.url)) as api:
        rows, sealed = "Ranges from rows", "Ranges from the column index"
        yield from reads.ranges(stored, api, TIMES, rows, reads.ROW_GOALS)
        yield reads.first_byte(stored, api, TIMES, rows)
        lab.seal(stored.url)
        yield from reads.ranges(stored, api, TIMES, sealed, reads.SEALED_GOALS)
        yield reads.first_byte(stored, api, TIMES, sealed)
    with closing(lab.ours(stored.url, **_FRAMES)) as api:
        yield from reads.ranges(stored, api, TIMES, "Ranges asked again", reads.AGAIN_GOALS)


def _small(stored: lab.Lab) -> Iterable[Result]:
    lab.seal(stored.url)
    with closing(lab.ours(stored.url, **_FRAMES)) as api, closing(lab.naive(stored.url)) as naive:
        yield from small.small(stored, api, naive, TIMES, SECONDS)
        yield from small.sql_alone(stored, api, TIMES, SECONDS)
        yield from small.not_modified(stored, api, TIMES, SECONDS)
        yield small.latest_of_many(stored, api, TIMES)


def _writes(stored: lab.Lab) -> Iterable[Result]:
    with closing(lab.ours(stored.url)) as api, tempfile.TemporaryDirectory() as folder:
        yield from writes.writes(stored, api, Path(folder), SIZE, TIMES)


def _memory(_: lab.Lab) -> Iterable[Result]:
    with lab.lab(STREAMED) as stored, tempfile.TemporaryDirectory() as folder:
        yield from memory.streaming(stored, STREAMED)
        yield memory.ingesting(stored, Path(folder), CSV_BYTES)


def _growth(_: lab.Lab) -> Iterable[Result]:
    with lab.lab(GROWN, filled=False) as stored:
        yield from growth.growth(stored, GROWN, TIMES)


def _homes(_: lab.Lab) -> Iterable[Result]:
    return homes.homes(TIMES)


def _engine(_: lab.Lab) -> Iterable[Result]:
    with lab.lab(SIZE, filled=False) as stored:
        yield from engine.engine(stored, SIZE, TIMES)


PARTS = {
    "ranges": _ranges,
    "small": _small,
    "writes": _writes,
    "memory": _memory,
    "growth": _growth,
    "homes": _homes,
    "engine": _engine,
}


def main(parts: list[str]) -> None:
    """Measure, print, write the report."""
    results: list[Result] = []
    with lab.lab(SIZE) as stored:
        for part in parts:
            for result in PARTS[part](stored):
                print("  ".join(result.row()), flush=True)
                results.append(result)
    report.show(results)
    print(f"report: {report.write(results, SIZE)}")


if __name__ == "__main__":
    chosen = sys.argv[1:] or list(PARTS)
    if unknown := sorted(set(chosen) - set(PARTS)):
        sys.exit(f"unknown part {', '.join(unknown)}: choose from {', '.join(PARTS)}")
    main(chosen)
