"""JSON: an array of objects, `{"data": [...]}` with the same, or columns `{"data": {"ts": [...], ...}}`."""

import re
from collections.abc import Iterator
from typing import BinaryIO, TypeVar

import msgspec
import polars as pl

from market_data.core.exceptions import UnreadableBody
from market_data.etl.readers.blocks import without_bom
from market_data.etl.readers.chunk import Chunk
from market_data.etl.readers.ndjson import cell_text, is_double, loads, table

_BYTE = re.compile(r"\(byte (\d+)\)")

T = TypeVar("T")


class _Envelope(msgspec.Struct):
    data: msgspec.Raw


def read(stream: BinaryIO, chunk_rows: int) -> Iterator[Chunk]:
    """Read a JSON document, whole, then chunk by chunk: limit its size before.

    Raises:
        UnreadableBody: it is no JSON in UTF-8, or has another shape; the message says where.

    """
    body = without_bom(stream.read())
    if not body.lstrip().startswith(b"{"):
        return _rows(_decode(body, list[msgspec.Raw]), chunk_rows)
    data = bytes(_decode(body, _Envelope).data)
    if not data.lstrip().startswith(b"{"):
        return _rows(_decode(data, list[msgspec.Raw]), chunk_rows)
    return _columns(_decode(data, dict[str, msgspec.Raw]), chunk_rows)


def _decode(text: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        at = _BYTE.search(str(error))
        where = f" in {_position(text, int(at[1]))}" if at else ""
        raise UnreadableBody(
            f"the body is no JSON array of rows, nor an object with such an array as data: {error}{where}"
        ) from error
    except RecursionError:
        raise UnreadableBody("the JSON is nested too deeply") from None


def _position(text: bytes, offset: int) -> str:
    line = text.count(b"\n", 0, offset) + 1
    return f"line {line}, column {offset - text.rfind(b'\n', 0, offset)}"


def _rows(rows: list[msgspec.Raw], chunk_rows: int) -> Iterator[Chunk]:
    for start in range(0, len(rows), chunk_rows):
        # Outside strings a newline means nothing in JSON, and inside it may not stand: rows become lines.
        lines = (bytes(row).replace(b"\n", b" ") for row in rows[start : start + chunk_rows])
        yield Chunk(table(b"\n".join(lines), "row {}", start + 1))


def _columns(columns: dict[str, msgspec.Raw], chunk_rows: int) -> Iterator[Chunk]:
    series = [_series(name, bytes(raw)) for name, raw in columns.items()]
    if len(lengths := {len(column) for column in series}) > 1:
        raise UnreadableBody(f"the columns have different lengths: {', '.join(map(str, sorted(lengths)))}")
    for part in pl.DataFrame(series).iter_slices(chunk_rows):
        yield Chunk(part)


def _series(name: str, raw: bytes) -> pl.Series:
    values = loads(raw, f"column {name!r}")
    if not isinstance(values, list):
        raise UnreadableBody(f"column {name!r} of data is not an array")
    if all(value is None or is_double(value) for value in values):
        return pl.Series(name, values, dtype=pl.Float64, strict=False)
    return pl.Series(name, [cell_text(value) for value in values], dtype=pl.String)
