"""Timestamps as text, for the formats that need it: a gather from two small tables instead of formatting."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from market_data.core.interval import Stamps

WIDTH = len("2024-01-02T00:00:00Z")
_DAY = len("2024-01-02")
_MINUTES = 1440
_TIMES = (
    np.array([f"T{m // 60:02d}:{m % 60:02d}:00Z" for m in range(_MINUTES)], "S10").view("u1").reshape(-1, 10)
)


def rfc3339(ts: Stamps) -> NDArray[np.uint8]:
    """Write datetime64[us] stamps, n > 0, as ASCII of shape (n, 20): `2024-01-02T00:00:00Z`.

    Bars start on whole minutes. Should a row written past this program have seconds, all are formatted.
    """
    minutes, rest = np.divmod(ts.view("int64"), 60_000_000)
    if rest.any():
        texts = np.char.add(np.datetime_as_string(ts.astype("datetime64[s]")), "Z")
        return texts.astype(f"S{WIDTH}").view("u1").reshape(-1, WIDTH)
    days, times = np.divmod(minutes, _MINUTES)
    first = days.min()
    names = np.datetime_as_string(np.arange(first, days.max() + 1).astype("datetime64[D]"))
    written = np.empty((len(ts), WIDTH), np.uint8)
    written[:, :_DAY] = names.astype(f"S{_DAY}").view("u1").reshape(-1, _DAY)[days - first]
    written[:, _DAY:] = _TIMES[times]
    return written


def rfc3339_array(ts: Stamps) -> pa.StringArray:
    """Write stamps as an Arrow column of strings."""
    written = rfc3339(ts)
    ends = np.arange(len(ts) + 1, dtype="int32") * WIDTH
    return pa.StringArray.from_buffers(len(ts), pa.py_buffer(ends), pa.py_buffer(written))
