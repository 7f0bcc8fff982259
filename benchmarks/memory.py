"""Memory of the server over idle, while much flows through it either way."""

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks import data
from benchmarks.lab import SOURCE, Api, Lab, ours
from benchmarks.measure import Result

GROUP = "Memory"
GOAL = 150.0
"""MiB."""
_MIB = 1024**2
_STEP = 100_000


def _over_idle(api: Api, idle: int) -> list[float]:
    return [(api.peak() - idle) / _MIB]


def streaming(lab: Lab, bars: int) -> Iterator[Result]:
    """All bars of enough instruments in each format that streams."""
    count = -(-bars // min(one.rows for one in lab.instruments))
    symbols = ",".join(one.symbol for one in lab.instruments[:count])
    for name in ("csv", "ndjson", "arrow", "parquet"):
        with closing(ours(lab.url, FRAME_CACHE_BYTES=str(64 * _MIB))) as api:
            api.get(f"/api/v1/prices/latest?symbols={lab.instruments[0].symbol}&interval=1m&format={name}")
            idle = api.memory()
            api.forget_peak()
            api.get(f"/api/v1/prices?symbols={symbols}&interval=1m&format={name}")
            yield Result(f"{bars:,} bars as {name}", GROUP, _over_idle(api, idle), unit="MiB", goal=GOAL)


def _write_csv(path: Path, symbols: list[str], size: int) -> int:
    """Write bars of later years until the file is so large; return how many."""
    rows = 0
    with path.open("wb") as file:
        while file.tell() < size:
            start = data.FIRST + np.timedelta64(1_000_000 + rows // len(symbols), "m")
            for number, symbol in enumerate(symbols):
                bars = data.bars(number, _STEP // len(symbols), start)
                stamps = np.datetime_as_string(bars.ts.astype("datetime64[s]"))
                columns = {"symbol": [symbol] * len(bars), "ts": np.char.add(stamps, "Z").tolist()}
                columns |= {n: getattr(bars, n) for n in ("open", "high", "low", "close", "volume")}
                frame = pl.DataFrame(columns).with_columns(pl.col("volume").fill_nan(None))
                frame.write_csv(file, include_header=not rows)
                rows += len(bars)
    return rows


def ingesting(lab: Lab, folder: Path, size: int) -> Result:
    """One CSV body, sent as it is read."""
    path = folder / "large.csv"
    rows = _write_csv(path, [one.symbol for one in lab.instruments], size)
    with closing(ours(lab.url, MAX_BODY_BYTES=str(2 * size))) as api:
        api.get("/health/ready")
        idle = api.memory()
        api.forget_peak()
        connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=3600)
        with path.open("rb") as body:
            address = f"/api/v1/prices?interval=1m&source={SOURCE}"
            connection.request("POST", address, body, {"Content-Type": "text/csv"})
            answer = json.loads(connection.getresponse().read())
        connection.close()
        assert answer["inserted"] == rows, answer
        name = f"a CSV body of {size / 1024**3:g} GiB, {rows:,} bars"
        return Result(name, GROUP, _over_idle(api, idle), unit="MiB", goal=GOAL)
