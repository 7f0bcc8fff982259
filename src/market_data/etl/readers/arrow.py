"""Arrow IPC: the stream format (HTTP bodies), and the file format, which is a stream between two marks."""

import os
from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa

from market_data.core.exceptions import UnreadableBody
from market_data.etl.readers.chunk import Chunk
from market_data.etl.readers.columnar import chunks, empty, refusing, seekable
from market_data.etl.readers.ipc_limits import check_sizes

_MAGIC = b"ARROW1"
_PADDED = 8


def read(stream: BinaryIO, chunk_rows: int) -> Iterator[Chunk]:
    """Read record batches; one larger than `chunk_rows` is cut.

    Raises:
        UnreadableBody: broken or truncated, or a compressed batch claims an absurd size.

    """
    with refusing("Arrow data"), seekable(stream) as source:
        start = _stream_start(source)
        check_sizes(source)
        source.seek(start)
        with pa.ipc.open_stream(source) as batches:
            yield (like := empty(batches.schema))
            for batch in batches:
                yield from chunks(batch, like, chunk_rows)


def _stream_start(source: BinaryIO) -> int:
    """Find, and seek to, where messages begin: behind the mark of a file, whose end must bear it too."""
    start = source.tell()
    if source.read(len(_MAGIC)) == _MAGIC:
        source.seek(-len(_MAGIC), os.SEEK_END)
        if source.tell() <= start or source.read() != _MAGIC:
            raise UnreadableBody("the Arrow file is truncated: its end is missing")
        start += _PADDED
    source.seek(start)
    return start
