"""Numbers and stamps as text, a whole column in one call: the same text in every format."""

import numpy as np
import orjson
import pyarrow as pa

from market_data.core.bars import Floats
from market_data.core.interval import Stamps

WIDTH = len("2024-01-02T00:00:00Z")
STEP = len('"2024-01-02T00:00:00Z",')
LONGEST = len("-2.2250738585072014e-308")
"""The longest text of a number."""
_NUMBERS = orjson.OPT_SERIALIZE_NUMPY
_STAMPS = _NUMBERS | orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z | orjson.OPT_OMIT_MICROSECONDS


def numbers(column: Floats) -> bytes:
    """Write float64[n] as a JSON array without blanks, each by its fewest digits; NaN is null."""
    return orjson.dumps(column, option=_NUMBERS)


def stamps(ts: Stamps) -> bytes:
    """Write datetime64[us] as a JSON array of RFC 3339 strings in UTC, one every `STEP` bytes.

    Whole seconds, of the years 0 to 9998. Raises `TypeError` (orjson's) for others.
    """
    return orjson.dumps(ts, option=_STAMPS)


def rfc3339_array(ts: Stamps) -> pa.StringArray:
    """Write stamps as an Arrow column of strings."""
    texts = np.frombuffer(stamps(ts), np.uint8)[1:].reshape(-1, STEP)[:, 1 : WIDTH + 1]
    ends = np.arange(len(ts) + 1, dtype="int32") * WIDTH
    return pa.StringArray.from_buffers(len(ts), pa.py_buffer(ends), pa.py_buffer(np.ascontiguousarray(texts)))
