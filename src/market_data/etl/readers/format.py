"""Formats that can be read, how media types and file names call them, and the one way to read any of them."""

import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import PurePath
from typing import BinaryIO, Self, cast

from market_data.core.exceptions import UnreadableBody, UnsupportedFormat
from market_data.etl.readers import arrow, csv_text, json_text, ndjson, parquet
from market_data.etl.readers.chunk import CHUNK_ROWS, Chunk, merged

GZIP_SUFFIX = ".gz"


class FileFormat(StrEnum):
    """A format of files and HTTP bodies."""

    CSV = "csv"
    NDJSON = "ndjson"
    JSON = "json"
    ARROW = "arrow"
    PARQUET = "parquet"

    @classmethod
    def from_media_type(cls, text: str) -> Self:
        """Read a `Content-Type`. Parameters are ignored, but for a charset, which must be UTF-8 or ASCII.

        Raises:
            UnsupportedFormat: unknown, absent, or in another charset.

        """
        essence, *parameters = (part.strip().lower() for part in text.split(";"))
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "charset" and value.strip(" \"'") not in _CHARSETS:
                raise UnsupportedFormat(f"charset {value.strip()[:40]!r} is not read; send UTF-8")
        if essence not in MEDIA_TYPES:
            raise UnsupportedFormat(
                f"media type {essence[:60]!r} is not read; known are {', '.join(MEDIA_TYPES)}"
            )
        return cls(MEDIA_TYPES[essence])

    @classmethod
    def from_path(cls, path: str | PurePath) -> Self:
        """Tell the format by the file name's ending; `.gz` may follow that of a text format.

        Raises:
            UnsupportedFormat: the ending says nothing.

        """
        name = PurePath(path).name.lower()
        found = _SUFFIXES.get(PurePath(name.removesuffix(GZIP_SUFFIX)).suffix)
        if found is None or (name.endswith(GZIP_SUFFIX) and found in _BINARY):
            known = ", ".join(_SUFFIXES)
            raise UnsupportedFormat(
                f"the ending of {name[:80]!r} tells no format; known are {known}, of text also with .gz"
            )
        return cls(found)


_CHARSETS = {"utf-8", "utf8", "us-ascii", "ascii"}
_BINARY = {"arrow", "parquet"}
MEDIA_TYPES = {
    "text/csv": "csv",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "application/json": "json",
    "application/vnd.apache.arrow.stream": "arrow",
    "application/vnd.apache.parquet": "parquet",
    "application/x-parquet": "parquet",
}
_SUFFIXES = {
    ".csv": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "json",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".parquet": "parquet",
}

_READERS: dict[FileFormat, Callable[[BinaryIO, int], Iterator[Chunk]]] = {
    FileFormat.CSV: csv_text.read,
    FileFormat.NDJSON: ndjson.read,
    FileFormat.JSON: json_text.read,
    FileFormat.ARROW: arrow.read,
    FileFormat.PARQUET: parquet.read,
}


def read(stream: BinaryIO, file_format: FileFormat, chunk_rows: int = CHUNK_ROWS) -> Iterator[Chunk]:
    """Read a body chunk by chunk. What the stream itself raises passes unchanged.

    Raises:
        UnreadableBody: it cannot be read to its end; chunks may have been yielded before.

    """
    return merged(_READERS[file_format](stream, chunk_rows), chunk_rows)


@contextmanager
def unpacked(stream: BinaryIO, path: str | PurePath) -> Iterator[BinaryIO]:
    """Decompress on the fly what a file named `.gz` holds; any other stream is given back as it is.

    Raises:
        UnreadableBody: on leaving, where reading met something that is not gzip, or its end was missing.

    """
    if not PurePath(path).name.lower().endswith(GZIP_SUFFIX):
        yield stream
        return
    try:
        with gzip.GzipFile(fileobj=stream, mode="rb") as plain:
            yield cast("BinaryIO", plain)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UnreadableBody(f"the gzip compression is broken: {error}") from error
