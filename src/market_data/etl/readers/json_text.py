"""JSON: an array of objects, `{"data": [...]}` with the same, or columns `{"data": {"ts": [...], ...}}`."""

import re
from collections.abc import Iterator
from typing import BinaryIO, TypeVar

import msgspec
import polars as pl

from market_data.core.exceptions import UnreadableBody
from market_data.etl.readers.blocks import without_bom
from market_data.etl.readers.chunk import Chunk
from market_data.etl.readers.ndjson import cell_text, loads, table

_BYTE = re.compile(r"\(byte (\d+)\)")

_SHAPES = (
    (msgspec.json.Decoder(list[float | None]), pl.Float64),
    (msgspec.json.Decoder(list[str | None]), pl.String),
)

T = TypeVar("T")


class _Envelope(msgspec.Struct):
    data: msgspec.Raw


def read(stream: BinaryIO, chunk_rows: int) -> Iterator[Chunk]:
    """Read a JSON document, whole, then chunk by chunk: limit its size before.

    Raises:
        UnreadableBody: it is no JSON in UTF-8, or has another shape; the message says where.

    """
    written = without_bom(stream.read())
    # Outside strings a newline means nothing in JSON, and inside it may not stand: rows can become lines.
    body = written.replace(b"\n", b" ")
    if not body.lstrip().startswith(b"{"):
        return _rows(_decode(body, list[msgspec.Raw], written), chunk_rows)
    data = bytes(_decode(body, _Envelope, written).data)
    if not data.lstrip().startswith(b"{"):
        return _rows(_decode(data, list[msgspec.Raw], data), chunk_rows)
    return _columns(_decode(data, dict[str, msgspec.Raw], data), chunk_rows)


def _decode(text: bytes, shape: type[T], written: bytes) -> T:
    try:
        return msgspec.json.decode(text, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        at = _BYTE.search(str(error))
        where = f" in {_position(written, int(at[1]))}" if at else ""
        raise UnreadableBody(
            f"the body is no JSON array of rows, nor an object with such an array as data: {error}{where}"
        ) from error
    except RecursionError:
        raise UnreadableBody("the JSON is nested too deeply") from None


def _position(text: bytes, offset: int) -> str:
    line = text.count(b"\n", 0, offset) + 1
    column = offset - text.rfind(b"\n", 0, offset)
    return f"line {line}, column {column}"


def _rows(rows: list[msgspec.Raw], chunk_rows: int) -> Iterator[Chunk]:
    for start in range(0, len(rows), chunk_rows):
        lines = b"\n".join(rows[start : start + chunk_rows])
        yield Chunk(table(lines, "row {}", start + 1))


def _columns(columns: dict[str, msgspec.Raw], chunk_rows: int) -> Iterator[Chunk]:
    series = [_series(name, bytes(raw)) for name, raw in columns.items()]
    if len(lengths := {len(column) for column in series}) > 1:
        raise UnreadableBody(f"the columns have different lengths: {', '.join(map(str, sorted(lengths)))}")
    for part in pl.DataFrame(series).iter_slices(chunk_rows):
        yield Chunk(part)


def _series(name: str, raw: bytes) -> pl.Series:
    for shape, dtype in _SHAPES:
        try:
            return pl.Series(name, shape.decode(raw), dtype=dtype)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # mixed, or no array: the careful way tells
    values = loads(raw, f"column {name!r}")
    if not isinstance(values, list):
        raise UnreadableBody(f"column {name!r} of data is not an array")
    return pl.Series(name, [cell_text(value) for value in values], dtype=pl.String)
