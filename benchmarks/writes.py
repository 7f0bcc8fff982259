"""Writes: a million bars as one body, against `psql \\copy` (binary) of the same rows into the same table."""

import http.client
import io
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import data
from benchmarks.lab import SOURCE, Api, Lab
from benchmarks.measure import Result
from market_data.db.binary_copy import HEADER, TRAILER, RowFormat

LATER = np.datetime64("2025-01-01", "us")
GROUP = "Writes"
GOALS_NEW = {"arrow": 1.1, "parquet": 1.1, "csv": 1.1, "ndjson": 1.1, "json": 1.8}
GOALS_AGAIN = {"arrow": 0.6, "ndjson": 0.8, "json": 1.3}
MEDIA_TYPES = {
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
    "csv": "text/csv",
    "ndjson": "application/x-ndjson",
    "json": "application/json",
}
_FORMAT = RowFormat("int4", "timestamptz", "float8", "float8", "float8", "float8", "float8", "int4")


def _made(lab: Lab, rows: int) -> dict[str, data.Bars]:
    each = rows // len(lab.instruments)
    return {one.symbol: data.bars(one.number + 100, each, LATER) for one in lab.instruments}


def _bodies(made: dict[str, data.Bars]) -> dict[str, bytes]:
    frame = pl.concat(
        pl.DataFrame(
            {
                "symbol": [symbol] * len(bars),
                "ts": bars.ts,
                "open": bars.open,
                "high": bars.high,
                "low": bars.low,
                "close": bars.close,
                "volume": bars.volume,
            }
        )
        for symbol, bars in made.items()
    ).with_columns(pl.col("ts").dt.replace_time_zone("UTC"), pl.col("volume").fill_nan(None))
    table = frame.to_arrow()
    text = frame.with_columns(pl.col("ts").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    written = {name: io.BytesIO() for name in MEDIA_TYPES}
    with pa.ipc.new_stream(written["arrow"], table.schema) as stream:
        stream.write_table(table, max_chunksize=65_536)
    pq.write_table(table, written["parquet"], compression="zstd", row_group_size=131_072)
    text.write_csv(written["csv"])
    text.write_ndjson(written["ndjson"])
    text.write_json(written["json"])
    return {name: body.getvalue() for name, body in written.items()}


def binary(lab: Lab, made: dict[str, data.Bars], path: Path) -> None:
    """Write the same rows as a COPY file."""
    parts = [
        _FORMAT.encode(
            np.full(len(bars), lab.series[symbol], "int32"), *bars.columns(), np.full(len(bars), 1, "int32")
        )
        for symbol, bars in made.items()
    ]
    path.write_bytes(HEADER + b"".join(parts) + TRAILER)


def post(api: Api, name: str, body: bytes) -> tuple[float, dict[str, int]]:
    """Post a body of bars; return the seconds until the answer is there, and its counts."""
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=600)
    began = time.perf_counter()
    path = f"/api/v1/prices?interval=1m&source={SOURCE}"
    connection.request("POST", path, body, {"Content-Type": MEDIA_TYPES[name]})
    answer = connection.getresponse()
    found = answer.read()
    seconds = time.perf_counter() - began
    if answer.status != 200:
        raise RuntimeError(f"{answer.status} {found[:300]!r}")
    connection.close()
    return seconds, json.loads(found)


class _Table:
    """The bars' table, and psql beside it."""

    def __init__(self, lab: Lab) -> None:
        self.psql = lab.psql()

    def clear(self) -> None:
        """Take the later bars away and let the server come to rest."""
        self.psql.time(f"DELETE FROM market_price_intraday WHERE ts >= '{LATER}+00';")
        self.psql.time("UPDATE series SET last_ts = first_ts, bar_count = 1;")
        self.psql.time("VACUUM market_price_intraday;")
        self.psql.time("CHECKPOINT;")

    def copy(self, path: Path) -> float:
        """Return the seconds of `\\copy`."""
        return self.psql.time(f"\\copy market_price_intraday from '{path}' with (format binary)")


def writes(lab: Lab, api: Api, folder: Path, rows: int, times: int) -> Iterator[Result]:
    """New bars later than all stored, then the same again, in every format; then interleaved ones."""
    made = _made(lab, rows)
    path = folder / "rows.bin"
    binary(lab, made, path)
    table = _Table(lab)
    with closing(table.psql):
        for name, body in _bodies(made).items():
            yield from _one_format(lab, api, table, (name, body, path), rows, times)
        yield _interleaved(lab, api, table, folder, rows, times)
        table.clear()


def _one_format(
    lab: Lab, api: Api, table: _Table, asked: tuple[str, bytes, Path], rows: int, times: int
) -> Iterator[Result]:
    name, body, path = asked
    new: tuple[list[float], list[float]] = ([], [])
    again, wal = [], []
    for _ in range(times):
        table.clear()
        new[1].append(table.copy(path))
        table.clear()
        seconds, counts = post(api, name, body)
        assert counts["inserted"] == rows, counts
        new[0].append(seconds)
        before = lab.wal()
        seconds, counts = post(api, name, body)
        assert counts["unchanged"] == rows, counts
        again.append(seconds)
        wal.append((lab.wal() - before) / rows)
    told = "psql \\copy binary"
    extra = {"bars_per_second": rows / statistics.median(new[0])}
    yield Result(f"{rows:,} new bars as {name}", GROUP, *new, told, goal=GOALS_NEW[name], extra=extra)
    yield Result(f"the same again as {name}", GROUP, again, new[1], told, goal=GOALS_AGAIN.get(name))
    yield Result(f"WAL of a row again, {name}", GROUP, wal, unit="B", goal=2)


def _interleaved(lab: Lab, api: Api, table: _Table, folder: Path, rows: int, times: int) -> Result:
    """New bars at odd minutes between stored ones at even minutes."""
    made = {}
    for parity in (0, 1):
        made[parity] = {
            symbol: replace(bars, ts=LATER + (2 * np.arange(len(bars)) + parity) * data.MINUTE)
            for symbol, bars in _made(lab, rows).items()
        }
    even, odd = (_bodies(made[parity])["arrow"] for parity in (0, 1))
    path = folder / "odd.bin"
    binary(lab, made[1], path)
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(times):
        table.clear()
        post(api, "arrow", even)
        found[1].append(table.copy(path))
        table.clear()
        post(api, "arrow", even)
        seconds, counts = post(api, "arrow", odd)
        assert counts["inserted"] == rows, counts
        found[0].append(seconds)
    return Result(f"{rows:,} interleaved bars as arrow", GROUP, *found, "psql \\copy binary", goal=2.0)
