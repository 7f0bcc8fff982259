"""Small requests: pages, latest bars and validators, against the naive application and against SQL alone."""

import re
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing

import numpy as np

from benchmarks import data, load
from benchmarks.lab import Api, Lab
from benchmarks.measure import Result, in_turns
from market_data.repositories.market_price_sql import gathered, latest_query

GROUP = "Small requests"
_PAGE = "/api/v1/prices?symbols={symbol}&interval=1m&start={start}&limit=500"
PAGES = 4000
"""Different pages asked for: more than the frames' memory holds."""


def _pages(lab: Lab) -> list[tuple[str, str]]:
    """Choose pages: symbol and start."""
    chosen = np.random.default_rng(1)
    minutes = min(one.rows for one in lab.instruments) - 500
    starts = data.FIRST + chosen.integers(0, minutes, PAGES) * data.MINUTE
    symbols = chosen.choice([one.symbol for one in lab.instruments], PAGES)
    stamps = np.datetime_as_string(starts.astype("datetime64[s]"))
    return [(str(symbol), f"{stamp}Z") for symbol, stamp in zip(symbols, stamps, strict=True)]


Asked = tuple[Api, Sequence[str]]


def _rates(name: str, ours: Asked, naive: Asked, goal: float, times: int, seconds: float) -> Result:
    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(times):
        rates[1].append(load.run(naive[0].port, *naive[1], seconds=seconds).per_second)
        rates[0].append(load.run(ours[0].port, *ours[1], seconds=seconds).per_second)
    return Result(name, GROUP, *rates, "naive", unit="requests/s", goal=goal, more_is_better=True)


def small(lab: Lab, ours: Api, naive: Api, times: int, seconds: float) -> Iterator[Result]:
    """Requests per second at 16 connections."""
    pages = _pages(lab)
    theirs = [f"/prices?symbol={symbol}&start={start}&limit=500" for symbol, start in pages]
    for name, more, goal in (("json", "", 15), ("columns", "&format=columns", 25)):
        mine = [_PAGE.format(symbol=symbol, start=start) + more for symbol, start in pages]
        yield _rates(f"500-bar page, {name}", (ours, mine), (naive, theirs), goal, times, seconds)
    symbols = [one.symbol for one in lab.instruments]
    mine = [f"/api/v1/prices/latest?symbols={symbol}&interval=1m" for symbol in symbols]
    theirs = [f"/prices/latest?symbol={symbol}" for symbol in symbols]
    yield _rates("latest of one symbol", (ours, mine), (naive, theirs), 12, times, seconds)


def sql_alone(lab: Lab, ours: Api, times: int, seconds: float) -> Iterator[Result]:
    """Requests beside what pgbench gets from the same rows by prepared SQL, without HTTP."""
    last = min(one.rows for one in lab.instruments) - 500
    page = (
        f"\\set first random(0, {last})\n\\set series random(2, 19)\n"
        f"SELECT {gathered()} FROM (SELECT * FROM market_price_intraday WHERE series_id = :series "
        "AND ts >= '2024-01-01+00'::timestamptz + :first * interval '1 minute' ORDER BY ts LIMIT 500) r;"
    )
    latest = (
        "\\set series random(2, 19)\nSELECT * FROM market_price_intraday WHERE series_id = :series "
        "ORDER BY ts DESC LIMIT 1;"
    )
    asked = [_PAGE.format(symbol=symbol, start=start) + "&format=columns" for symbol, start in _pages(lab)]
    newest = [f"/api/v1/prices/latest?symbols={one.symbol}&interval=1m" for one in lab.instruments]
    for name, script, paths in (("500-bar page, columns", page, asked), ("latest", latest, newest)):
        rates: tuple[list[float], list[float]] = ([], [])
        for _ in range(times):
            rates[1].append(_pgbench(lab, script, seconds))
            rates[0].append(load.run(ours.port, *paths, seconds=seconds).per_second)
        yield Result(f"{name}, beside SQL", GROUP, *rates, "pgbench", unit="requests/s", more_is_better=True)


def _pgbench(lab: Lab, script: str, seconds: float) -> float:
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        command = [
            lab.bin_dir / "pgbench",
            "-n",
            "-M",
            "prepared",
            "-c",
            "16",
            "-j",
            "2",
            "-T",
            f"{seconds:.0f}",
        ]
        told = subprocess.run(
            [*command, "-f", file.name, lab.url], check=True, capture_output=True, text=True
        )
    found = re.search(r"tps = ([0-9.]+)", told.stdout)
    assert found is not None, told.stdout
    return float(found[1])


def not_modified(lab: Lab, ours: Api, times: int, seconds: float) -> Iterator[Result]:
    """The answer that nothing changed, against the answer that the process lives."""
    path = f"/api/v1/prices?symbols={lab.instruments[0].symbol}&interval=1m&limit=500"
    tag = f"If-None-Match: {ours.header(path, 'etag')}\r\n"
    for connections in (1, 16):
        p50: tuple[list[float], list[float]] = ([], [])
        for _ in range(times):
            live = load.run(ours.port, "/health/live", connections=connections, seconds=seconds)
            same = load.run(ours.port, path, connections=connections, seconds=seconds, headers=tag)
            p50[0].append(same.p50)
            p50[1].append(live.p50)
        name = f"304, p50 at {connections} connection{'s' if connections > 1 else ''}"
        yield Result(name, GROUP, *p50, "/health/live", goal=3)


def latest_of_many(lab: Lab, ours: Api, times: int) -> Result:
    """The newest bar of 500 symbols in one request, against the same SQL in psql."""
    symbols = lab.add_many(500)
    path = f"/api/v1/prices/latest?symbols={','.join(symbols)}&interval=1m"
    ids = ",".join(str(lab.series[symbol]) for symbol in symbols)
    positions = ",".join(str(number) for number in range(len(symbols)))
    query = (
        latest_query("market_price_intraday")
        .replace("$1", f"'{{{positions}}}'")
        .replace("$2", f"'{{{ids}}}'")
    )
    statement = " ".join(query.split()) + "\n;"
    with closing(lab.psql()) as psql:
        psql.time("\\o /dev/null\nSELECT 1;")
        mine, limits = in_turns(
            lambda: statistics.median(ours.get(path)[1] for _ in range(20)),
            lambda: statistics.median(psql.time(statement) for _ in range(20)),
            times,
        )
    return Result("latest of 500 symbols", GROUP, mine, limits, "psql", goal=3)
