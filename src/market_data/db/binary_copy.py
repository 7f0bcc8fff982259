"""PostgreSQL's binary format as NumPy columns: rows to COPY in, and gathered values on their way out.

Every column is NOT NULL, so each row has one fixed width and a file of rows is an array of records.
Format: https://www.postgresql.org/docs/current/sql-copy.html (File Formats, Binary Format).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER = b"\xff\xff"
_EPOCH = np.datetime64("2000-01-01", "us")
"""PostgreSQL counts microseconds from here."""

_PIECE_ROWS = 1024
_WIRE = {"int4": ">i4", "int8": ">i8", "float8": ">f8", "timestamptz": ">i8"}
_SIZE = {"int4": 4, "int8": 8, "float8": 8, "timestamptz": 8}
_HERE = {"int4": "int32", "int8": "int64", "float8": "float64"}


def _record(types: Sequence[str]) -> np.dtype[np.void]:
    fields: list[tuple[str, str]] = [("count", ">i2")]
    for position, name in enumerate(types):
        fields += [(f"size{position}", ">i4"), (f"value{position}", _WIRE[name])]
    return np.dtype(fields)


def _native(kind: str, values: NDArray[Any]) -> NDArray[Any]:
    if kind == "timestamptz":
        return values.astype("int64").view("timedelta64[us]") + _EPOCH
    return values.astype(_HERE[kind])


class RowFormat:
    """Rows of fixed types, such as `RowFormat("int4", "timestamptz", "float8")`."""

    def __init__(self, *types: str) -> None:
        self.types = types
        self.record = _record(types)

    def encode(self, *columns: NDArray[Any]) -> bytes:
        """Write columns of one length as rows, without header and trailer."""
        return b"".join(self.pieces(len(columns[0]), *columns))

    def pieces(self, n: int, *columns: NDArray[Any] | int) -> Iterator[bytes]:
        """Write n rows piece by piece, small enough for a cache; a number stands for itself n times."""
        template = np.empty(min(n, _PIECE_ROWS), self.record)
        template["count"] = len(self.types)
        for position, name in enumerate(self.types):
            template[f"size{position}"] = _SIZE[name]
        for start in range(0, n, _PIECE_ROWS):
            rows = template[: n - start]
            for position, (name, column) in enumerate(zip(self.types, columns, strict=True)):
                part = column if isinstance(column, int) else column[start : start + _PIECE_ROWS]
                rows[f"value{position}"] = (part - _EPOCH).view("int64") if name == "timestamptz" else part
            yield rows.tobytes()


def read_column(kind: str, values: bytes) -> NDArray[Any]:
    """Read the values of one column, sent one behind the other without sizes."""
    return _native(kind, np.frombuffer(values, _WIRE[kind]))
