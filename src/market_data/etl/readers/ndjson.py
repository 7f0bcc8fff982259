"""NDJSON: one JSON object a line. A line that is none makes the whole body unreadable."""

import json
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NoReturn

import orjson
import polars as pl

from market_data.core.bars import PRICES
from market_data.core.exceptions import UnreadableBody
from market_data.etl.readers.blocks import block_size, line_blocks
from market_data.etl.readers.chunk import Chunk

OPTIONAL = ("symbol", "exchange", "instrument_id", "interval", "volume")
"""Columns a row may lack: some line further down may be the first to have one."""

_SAMPLE = 100
_SAMPLE_BYTES = 32 * 1024
_EXACT_INT = 2**53
_NUMBERS = {*PRICES, "volume"}
_RARE = {"exchange": b"x", "instrument_id": b"_", "interval": b"r"}
"""Letters that most bodies without these names lack: one letter is found ten times faster than a word."""


def read(stream: BinaryIO, chunk_rows: int) -> Iterator[Chunk]:
    """Read objects line by line; blank lines are none. A column with a cell of another type is text.

    Raises:
        UnreadableBody: a line is not one JSON object in UTF-8; the message has its line and column.

    """
    line, before = 1, b""
    for block in line_blocks(stream, block_size(chunk_rows)):
        line += before.count(b"\n")
        for part in table(block, "line {}", line).iter_slices(chunk_rows):
            yield Chunk(part)
        before = block


def table(block: bytes, place: str, first: int) -> pl.DataFrame:
    """Read lines of JSON objects. `place` names line `{}` in messages, `first` is the number of the first.

    Raises:
        UnreadableBody: a line is not one JSON object in UTF-8.

    """
    schema = _schema(block)
    if schema and not _has_more(block, schema):
        try:
            return pl.read_ndjson(block, schema=schema)
        except pl.exceptions.PolarsError:
            pass  # it stops at the first surprise; the careful way tells a bad cell from a bad line
    return text_table(
        [_object(line, place, first + i) for i, line in enumerate(block.split(b"\n")) if line.strip()]
    )


def text_table(rows: Sequence[dict[str, object]]) -> pl.DataFrame:
    """Make a table of text cells, null where a row lacks the key."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [cell_text(row.get(name)) for row in rows] for name in names}
    return pl.DataFrame(columns, schema=dict.fromkeys(names, pl.String))


def cell_text(value: object) -> str | None:
    """Write a JSON value as a cell, so that a number reads back as the same number."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


def _schema(block: bytes) -> dict[str, type[pl.DataType]]:
    """Guess column types by the first lines; empty where they are not plain objects."""
    found: dict[str, type[pl.DataType]] = {}
    head = block[: max(block.find(b"\n", _SAMPLE_BYTES), 0) or None]
    for line in head.split(b"\n", _SAMPLE)[:_SAMPLE]:
        try:
            row = orjson.loads(line) if line.strip() else {}
        except orjson.JSONDecodeError:
            return {}
        if not isinstance(row, dict):
            return {}
        for name, value in row.items():
            if value is None:
                found.setdefault(name, pl.Float64 if name.lower() in _NUMBERS else pl.String)
            elif found.get(name) is not pl.String:
                found[name] = pl.Float64 if is_double(value) else pl.String
    return found


def is_double(value: object) -> bool:
    """Whether a JSON value is a number that a double holds exactly."""
    return isinstance(value, float) or (type(value) is int and abs(value) < _EXACT_INT)


def _has_more(block: bytes, schema: dict[str, type[pl.DataType]]) -> bool:
    """Whether a line further down may have a column that the first lines lack."""
    known = {name.lower() for name in schema}
    absent = [name for name in OPTIONAL if name not in known]
    return any(_RARE.get(name, b'"') in block and f'"{name}"'.encode() in block for name in absent)


def _object(line: bytes, place: str, number: int) -> dict[str, object]:
    value = loads(line, place.format(number))
    if not isinstance(value, dict):
        raise UnreadableBody(f"{place.format(number)} is not a JSON object")
    return value


def loads(text: bytes, where: str) -> object:
    """Read one JSON value.

    Raises:
        UnreadableBody: it is none; the message starts with `where`.

    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return _careful(text, where)


def _careful(line: bytes, where: str) -> object:
    """Read what orjson will not, such as 1e400; otherwise say what is wrong and where."""
    try:
        return json.loads(line.decode(), parse_constant=_refuse)
    except UnicodeDecodeError as error:
        raise UnreadableBody(f"{where} is not UTF-8 at byte {error.start + 1}") from error
    except json.JSONDecodeError as error:
        raise UnreadableBody(f"{where}, column {error.colno}, is not JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise UnreadableBody(f"{where} is not JSON: {error}") from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number; write null for an absent value")
