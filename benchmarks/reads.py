"""Ranges: 100k bars in every format, from rows, column index and memory, against `psql COPY`."""

import statistics
from collections.abc import Iterator
from contextlib import closing

from benchmarks.lab import Api, Lab
from benchmarks.measure import Result, in_turns

ROW_GOALS = {"arrow": 0.8, "csv": 0.9, "json": 1.0, "columns": 1.2, "ndjson": 1.1, "parquet": 1.0}
SEALED_GOALS = {"arrow": 0.3, "columns": 0.4, "json": 0.7, "csv": None, "ndjson": None, "parquet": None}
AGAIN_GOALS = dict.fromkeys(ROW_GOALS, 0.08)
_LIMITED = {"json", "columns"}
FIRST = "BENCH00"


def path_of(format_name: str) -> str:
    """Return the address of the first instrument's 100k bars."""
    limit = "&limit=100000" if format_name in _LIMITED else ""
    return f"/api/v1/prices?symbols={FIRST}&interval=1m&format={format_name}{limit}"


def ranges(lab: Lab, ours: Api, times: int, group: str, goals: dict[str, float | None]) -> Iterator[Result]:
    """100k bars in every format, against psql's CSV of the same columns."""
    copy = (
        f"\\copy (SELECT '{FIRST}' AS symbol, ts, open, high, low, close, nullif(volume, 'NaN') AS volume "
        f"FROM market_price_intraday WHERE series_id = {lab.series[FIRST]} ORDER BY ts) "
        "to '/dev/null' with (format csv)"
    )
    with closing(lab.psql()) as psql:
        for name, goal in goals.items():
            path, firsts = path_of(name), []

            def get(path: str = path, firsts: list[float] = firsts) -> float:
                first, whole, _ = ours.get(path)
                firsts.append(first)
                return whole

            mine, limits = in_turns(get, lambda: psql.time(copy), times)
            extra = {"first_byte_ms": statistics.median(firsts) * 1e3}
            yield Result(f"100k bars as {name}", group, mine, limits, "psql COPY csv", goal=goal, extra=extra)


def first_byte(lab: Lab, ours: Api, times: int, group: str) -> Result:
    """First byte of all bars of all instruments."""
    symbols = ",".join(one.symbol for one in lab.instruments)
    path = f"/api/v1/prices?symbols={symbols}&interval=1m&format=csv"
    firsts = [ours.get(path)[0] for _ in range(times)]
    return Result(f"first byte of a {lab.size:,}-bar stream", group, firsts, goal=0.020)
