"""Arrow IPC: the stream format (HTTP bodies) and the file format, told apart by their first bytes."""

from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa

from market_data.etl.readers.chunk import Chunk
from market_data.etl.readers.columnar import chunks, refusing, seekable
from market_data.etl.readers.ipc_limits import check_sizes

_FILE_MAGIC = b"ARROW1"


def read(stream: BinaryIO, chunk_rows: int) -> Iterator[Chunk]:
    """Read record batches; a batch larger than `chunk_rows` is cut.

    Raises:
        UnreadableBody: broken or truncated, or a compressed batch claims an absurd size.

    """
    with refusing("Arrow data"), seekable(stream) as source:
        start = source.tell()
        is_file = source.read(len(_FILE_MAGIC)) == _FILE_MAGIC
        source.seek(start)
        for batch in _file_batches(source) if is_file else _stream_batches(source):
            yield from chunks(batch, chunk_rows)
