"""Writes: a million bars as one body, against `psql \\copy` (binary) of the same rows into the same table."""

import http.client
import io
import json
import statistics
import time
from collections.abc import Iterator
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


def _binary(lab: Lab, made: dict[str, data.Bars], path: Path) -> None:
    """Write the same rows as a COPY file."""
    parts = [
        _FORMAT.encode(
            np.full(len(bars), lab.series[symbol], "int32"), *bars.columns(), np.full(len(bars), 1, "int32")
        )
        for symbol, bars in made.items()
    ]
    path.write_bytes(HEADER + b"".join(parts) + TRAILER)


def _post(api: Api, name: str, body: bytes) -> tuple[float, dict[str, int]]:
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


def writes(lab: Lab, api: Api, folder: Path, rows: int, times: int) -> Iterator[Result]:
    """New bars later than all stored, then the same again, in every format."""
    made = _made(lab, rows)
    bodies = _bodies(made)
    _binary(lab, made, folder / "rows.bin")
    psql = lab.psql()
    copy = f"\\copy market_price_intraday from '{folder / 'rows.bin'}' with (format binary)"

    def clear() -> None:
        psql.time(f"DELETE FROM market_price_intraday WHERE ts >= '{LATER}+00';")
        psql.time("UPDATE series SET last_ts = first_ts, bar_count = 1;")
        psql.time("VACUUM market_price_intraday;")
        psql.time("CHECKPOINT;")

    for name, body in bodies.items():
        new: tuple[list[float], list[float]] = ([], [])
        again: list[float] = []
        for _ in range(times):
            clear()
            new[1].append(psql.time(copy))
            clear()
            seconds, counts = _post(api, name, body)
            assert counts["inserted"] == rows, counts
            new[0].append(seconds)
            seconds, counts = _post(api, name, body)
            assert counts["unchanged"] == rows, counts
            again.append(seconds)
        size = statistics.median(new[1])
        yield Result(
            f"{rows} new bars as {name}",
            "Writes",
            *new,
            "psql \\copy binary",
            goal=GOALS_NEW[name],
            extra={"bars_per_second": rows / statistics.median(new[0]), "limit_bars_per_second": rows / size},
        )
        yield Result(
            f"the same again as {name}",
            "Writes",
            again,
            new[1],
            "psql \\copy binary",
            goal=GOALS_AGAIN.get(name),
        )
    clear()
    psql.close()
