"""Reads: whole ranges against `psql COPY`, small requests against the naive application and SQL alone."""

import statistics
from collections.abc import Iterator

from benchmarks import load
from benchmarks.lab import Api, Lab
from benchmarks.measure import Result, in_turns

RANGE_GOALS = {"arrow": 0.8, "csv": 0.9, "json": 1.0, "columns": 1.2, "ndjson": 1.1, "parquet": 1.0}
_LIMITED = {"json", "columns"}
FIRST = "BENCH00"


def ranges(lab: Lab, ours: Api, times: int) -> Iterator[Result]:
    """100k bars in every format, against psql's CSV of the same columns."""
    psql = lab.psql()
    copy = (
        f"\\copy (SELECT '{FIRST}' AS symbol, ts, open, high, low, close, nullif(volume, 'NaN') AS volume "
        f"FROM market_price_intraday WHERE series_id = {lab.series[FIRST]} ORDER BY ts) "
        "to '/dev/null' with (format csv)"
    )
    for name, goal in RANGE_GOALS.items():
        limit = "&limit=100000" if name in _LIMITED else ""
        path = f"/api/v1/prices?symbols={FIRST}&interval=1m&format={name}{limit}"
        firsts: list[float] = []

        def get(path: str = path, firsts: list[float] = firsts) -> float:
            first, whole, _ = ours.get(path)
            firsts.append(first)
            return whole

        mine, limits = in_turns(get, lambda: psql.time(copy), times)
        yield Result(
            f"100k bars as {name}",
            "Ranges",
            mine,
            limits,
            "psql \\copy csv",
            goal=goal,
            extra={"first_byte_ms": statistics.median(firsts) * 1e3},
        )
    psql.close()


def first_byte(ours: Api, times: int) -> Result:
    """First byte of all bars of all instruments."""
    symbols = ",".join(f"BENCH{n:02d}" for n in range(20))
    path = f"/api/v1/prices?symbols={symbols}&interval=1m&format=csv"
    firsts = [ours.get(path)[0] for _ in range(times)]
    return Result("first byte of a whole-table stream", "Ranges", firsts, goal=0.020)


SMALL = (
    (
        "500-bar page, json",
        "/api/v1/prices?symbols={s}&interval=1m&limit=500",
        "/prices?symbol={s}&limit=500",
        15,
    ),
    (
        "500-bar page, columns",
        "/api/v1/prices?symbols={s}&interval=1m&limit=500&format=columns",
        "/prices?symbol={s}&limit=500",
        25,
    ),
    (
        "latest of one symbol",
        "/api/v1/prices/latest?symbols={s}&interval=1m",
        "/prices/latest?symbol={s}",
        12,
    ),
)


def small(ours: Api, naive: Api, seconds: float) -> Iterator[Result]:
    """Requests per second at 16 connections, against the naive application."""
    for name, path, other, goal in SMALL:
        rates: tuple[list[float], list[float]] = ([], [])
        for _ in range(3):
            rates[1].append(load.run(naive.port, other.format(s=FIRST), seconds=seconds).per_second)
            rates[0].append(load.run(ours.port, path.format(s=FIRST), seconds=seconds).per_second)
        yield Result(
            name, "Small requests", *rates, "naive", unit="requests/s", goal=goal, more_is_better=True
        )
    live = load.run(ours.port, "/health/live", seconds=seconds).per_second
    yield Result("/health/live", "Small requests", [live], unit="requests/s")
