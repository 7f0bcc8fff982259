"""Text streams cut into blocks of whole lines, so that a file of any size passes through little memory."""

from collections.abc import Iterator
from typing import BinaryIO

from market_data.core.exceptions import UnreadableBody

BOM = b"\xef\xbb\xbf"
UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")
MAX_LINE = 1024 * 1024
"""Bytes one line may have, and a block at most: a larger one parses no faster and holds more memory."""

_ROW_BYTES = 160
_MIN_BLOCK = 64 * 1024


def block_size(chunk_rows: int) -> int:
    """Bytes to read at once for about this many rows."""
    return min(max(chunk_rows * _ROW_BYTES, _MIN_BLOCK), MAX_LINE)


def without_bom(head: bytes) -> bytes:
    """Drop a UTF-8 byte order mark.

    Raises:
        UnreadableBody: the mark of UTF-16.

    """
    if head.startswith(UTF16_BOMS):
        raise UnreadableBody("the text is UTF-16; save it as UTF-8")
    return head.removeprefix(BOM)


def line_blocks(stream: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield blocks of whole lines, of about `size` bytes each; the last may lack its newline.

    Raises:
        UnreadableBody: a line over `MAX_LINE`, or UTF-16.

    """
    whole: list[bytes] = []
    rest, rest_bytes, started = [b""], 0, False
    while piece := stream.read(size):
        if not started:
            piece, started = without_bom(piece), True
        if cut := piece.rfind(b"\n") + 1:
            if whole:
                yield b"".join(whole)
            whole = [*rest, piece[:cut]]
            rest, rest_bytes = [], 0
        rest.append(piece[cut:])
        rest_bytes += len(piece) - cut
        if rest_bytes > MAX_LINE:
            raise UnreadableBody(f"a line is longer than {MAX_LINE} bytes")
    if last := b"".join((*whole, *rest)):
        yield last
