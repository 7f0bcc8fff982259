"""CSV: a header line, then rows; every cell stays text, so a bad one costs its row and no other."""

import codecs
import csv
from collections import deque
from collections.abc import Iterator
from typing import BinaryIO

import polars as pl
import pyarrow as pa
from pyarrow import csv as arrow_csv

from market_data.core.exceptions import UnreadableBody
from market_data.etl.readers.blocks import block_size, without_bom
from market_data.etl.readers.chunk import Chunk
from market_data.etl.transformers.rejection import TEXT_BYTES, Reason, Rejections

_DELIMITERS = (",", ";", "\t")
_HEADER_BYTES = 64 * 1024
_BLOCK = 256 * 1024
"""Bytes parsed at once, and so in one line at most; Arrow reads 32 blocks ahead, whatever their size."""
_END = "__end_of_csv_4bd1a7__"


def read(stream: BinaryIO, chunk_rows: int) -> Iterator[Chunk]:
    """Read comma, semicolon or tab separated text (the header tells which) in UTF-8, quoted by double quotes.

    Lines with another number of cells than the header come as `Chunk.broken`; empty lines are no rows. The
    last chunk may be empty, so that a file without rows tells its columns too.

    Raises:
        UnreadableBody: no header, a header with empty or repeated names, a quote never closed, a line over
            256 KiB, NUL, or anything but UTF-8.

    """
    header = _header_line(stream)
    delimiter = max(_DELIMITERS, key=header.count)
    names = _names(header, delimiter)
    end = _END if len(names) > 1 else delimiter.join((_END, _END))
    lines = _Lines(end, len(names))
    try:
        batches = _open(_Ended(stream, end), names, delimiter, lines, min(block_size(chunk_rows), _BLOCK))
        for batch in batches:
            table = pl.DataFrame(pl.from_arrow(batch))
            for part in table.iter_slices(chunk_rows):
                yield Chunk(part, lines.take())
    except pa.ArrowInvalid as error:
        raise UnreadableBody(_explain(str(error))) from error
    if not lines.ended:
        raise UnreadableBody("a quoted value is never closed")
    yield Chunk(pl.DataFrame(schema=dict.fromkeys(names, pl.String)), lines.take())


def _header_line(stream: BinaryIO) -> str:
    """Return the first line that is not blank, without its end."""
    first = True
    while line := stream.readline(_HEADER_BYTES):
        text = without_bom(line) if first else line
        first = False
        if len(line) >= _HEADER_BYTES:
            raise UnreadableBody(f"the header line is longer than {_HEADER_BYTES} bytes")
        if b"\x00" in text:
            raise UnreadableBody("the text holds NUL bytes: it is no CSV in UTF-8")
        try:
            header = text.decode().strip("\r\n ")
        except UnicodeDecodeError as error:
            raise UnreadableBody(f"the header is not UTF-8: {error.reason}") from error
        if header:
            return header
    raise UnreadableBody("the CSV is empty: it needs a header line that names its columns")


def _names(header: str, delimiter: str) -> list[str]:
    try:
        (row,) = csv.reader([header], delimiter=delimiter, strict=True)
    except csv.Error as error:
        raise UnreadableBody(f"the header line cannot be read: {error}") from error
    names = [name.strip() for name in row]
    if "" in names:
        raise UnreadableBody(f"column {names.index('') + 1} of the header has no name")
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UnreadableBody(f"the header repeats {', '.join(map(repr, repeated))}")
    return names


class _Ended:
    """The stream with a last line of its own: where that line is not found again, a quote was left open."""

    closed = False

    def __init__(self, stream: BinaryIO, end: str) -> None:
        self._stream = stream
        self._end = f"\n{end}\n".encode()
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        if b"\x00" in data:
            raise UnreadableBody("the text holds NUL bytes: it is no CSV in UTF-8")
        try:
            # Not left to Arrow: it would drop a line that is ragged and broken without a word.
            self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise UnreadableBody(f"the CSV is not UTF-8: {error.reason}") from error
        if not data:
            data, self._end = self._end, b""
        return data


class _Lines:
    """Lines with too many or too few cells, collected while Arrow parses ahead in a thread of its own."""

    def __init__(self, end: str, cells: int) -> None:
        self.ended = False
        self._end = end
        self._cells = cells
        self._found: deque[tuple[str, str]] = deque()

    def on_row(self, row: arrow_csv.InvalidRow) -> str:
        if row.text.rstrip("\r\n") == self._end:
            self.ended = True
        else:
            detail = f"The line has {row.actual_columns} cells, the header {self._cells}."
            self._found.append((detail, row.text[:TEXT_BYTES]))
        return "skip"

    def take(self) -> Rejections:
        """Return what was found since the last call."""
        broken = Rejections()
        for _ in range(len(self._found)):
            detail, text = self._found.popleft()
            broken.add(Reason.UNREADABLE, detail, text)
        return broken


def _open(
    source: _Ended, names: list[str], delimiter: str, lines: _Lines, size: int
) -> arrow_csv.CSVStreamingReader:
    return arrow_csv.open_csv(
        pa.PythonFile(source, mode="r"),
        read_options=arrow_csv.ReadOptions(column_names=names, block_size=size, use_threads=False),
        parse_options=arrow_csv.ParseOptions(
            delimiter=delimiter, newlines_in_values=True, invalid_row_handler=lines.on_row
        ),
        convert_options=arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False, check_utf8=False
        ),
    )


def _explain(message: str) -> str:
    if "straddl" in message:
        return f"a quoted value is never closed, or a line is too long (at most {_BLOCK} bytes)"
    return f"the CSV cannot be read: {message.splitlines()[0][:200]}"
