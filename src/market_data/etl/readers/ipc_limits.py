"""What a compressed Arrow batch will take in memory, told by its headers before any of it is unpacked.

Arrow has no limit of its own: a batch of one megabyte may unpack to many gigabytes. The headers' layout is
fixed by https://arrow.apache.org/docs/format/Columnar.html (Message.fbs, Schema.fbs); Arrow has verified them
as FlatBuffers by the time they are read here. A buffer of a compressed body starts with its unpacked length.
"""

import struct
from typing import BinaryIO

import pyarrow as pa

from market_data.core.exceptions import UnreadableBody

MAX_BATCH_BYTES = 1024**3
"""Unpacked bytes one batch may have."""

_HEADER, _DATA, _BUFFERS, _COMPRESSION = 2, 1, 2, 3
"""Positions of the fields in the tables Message, DictionaryBatch, RecordBatch and RecordBatch."""


def check_sizes(stream: BinaryIO) -> None:
    """Read all messages of a stream from where it stands, and leave it at the end.

    Raises:
        UnreadableBody: a batch would unpack to more than `MAX_BATCH_BYTES`.
        pa.ArrowInvalid: the messages are broken.

    """
    for message in pa.ipc.MessageReader.open_stream(stream):
        if message.type not in {"record batch", "dictionary"}:
            continue
        size = _unpacked(message.metadata.to_pybytes(), message.type, message.body)
        if size > MAX_BATCH_BYTES:
            raise UnreadableBody(
                f"a compressed batch unpacks to {size} bytes; at most {MAX_BATCH_BYTES} are read"
            )


def _unpacked(header: bytes, kind: str, body: pa.Buffer) -> int:
    """Bytes a batch unpacks to; 0 where it is not compressed."""
    batch = _follow(header, _field(header, _follow(header, 0), _HEADER))
    if kind == "dictionary":
        batch = _follow(header, _field(header, batch, _DATA))
    if not _field(header, batch, _COMPRESSION):
        return 0
    buffers = _follow(header, _field(header, batch, _BUFFERS))
    (count,) = struct.unpack_from("<I", header, buffers)
    view, total = memoryview(body), 0
    for number in range(count):
        offset, length = struct.unpack_from("<qq", header, buffers + 4 + 16 * number)
        if length:
            total += max(0, *struct.unpack_from("<q", view, offset))  # -1: this buffer was left as it is
    return total


def _follow(header: bytes, position: int) -> int:
    """Where the offset at a position leads."""
    return position + int(struct.unpack_from("<I", header, position)[0])


def _field(header: bytes, table: int, number: int) -> int:
    """Position of a field of a table, 0 where it is absent."""
    (back,) = struct.unpack_from("<i", header, table)
    (size,) = struct.unpack_from("<H", header, table - back)
    if 4 + 2 * number >= size:
        return 0
    (offset,) = struct.unpack_from("<H", header, table - back + 4 + 2 * number)
    return table + int(offset) if offset else 0
