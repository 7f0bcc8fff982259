"""Formats that write one row after another: JSON objects, NDJSON, CSV.

orjson formats the numbers of all columns in one call, and the stamps in another. NumPy then moves these texts
between the constant parts of the rows: one copy per column, of items as wide as the longest text. Behind a
shorter one that writes too much, which the parts that belong there overwrite: hence the order in `_write`.
"""

from abc import abstractmethod
from functools import cache
from typing import ClassVar

import numpy as np
import orjson
from numpy.typing import NDArray

from market_data.api.encoders.base import Encoder
from market_data.api.encoders.text import LONGEST, STEP, WIDTH, numbers, stamps
from market_data.core.bars import COLUMNS, Bars
from market_data.core.interval import Stamps
from market_data.repositories.market_price import BarBlock
from market_data.services.price_page import PricePage

_ROWS = 2048
"""Rows written at once: more leave the processor's cache, for memory the system has to map first."""
_ROOM = 3 << 20
"""Least bytes to write into, kept from block to block: mapping new memory takes a quarter of the time.

Most of it is never touched. Once so large a piece was freed, glibc stops handing memory back to the system
between the pages of a young process, which made those of many symbols three times as slow.
"""

Bytes = NDArray[np.uint8]
Items = NDArray[np.void]
Places = NDArray[np.intp]


class RowEncoder(Encoder):
    """Bars as rows of text."""

    parts: ClassVar[tuple[bytes, ...]]
    """What stands before each of the seven values, and behind the last."""
    absent: ClassVar[bytes]
    """How an absent volume is written: as a beginning of `null`."""

    def __init__(self, page: PricePage) -> None:
        super().__init__(page)
        before, behind = self.parts[:2]
        labels = [self.quoted(label) for label in page.labels]
        self._heads = before + (behind + before).join(labels) + behind
        self._head_sizes = np.fromiter(map(len, labels), np.intp, len(labels)) + len(before + behind)
        self._head_starts = self._head_sizes.cumsum() - self._head_sizes
        self._distinct_sizes = set(self._head_sizes.tolist())
        self._other_sizes = WIDTH + sum(map(len, self.parts[2:]))
        self._longest = (
            max(self._distinct_sizes, default=0) + self._other_sizes + (len(COLUMNS) - 2) * LONGEST
        )
        self._written = np.empty(0, np.uint8)

    @staticmethod
    @abstractmethod
    def quoted(label: str) -> bytes:
        """Write a symbol."""

    def rows(self, block: BarBlock) -> Bytes:
        """Write rows; they stand until the next are written."""
        room = max(self._longest * len(block.bars) + LONGEST, _ROOM)
        if len(self._written) < room:
            self._written = np.empty(room, np.uint8)
        size = 0
        for first in range(0, len(block.bars), _ROWS):
            which = slice(first, first + _ROWS)
            size += self._write(self._written[size:], block.position[which], block.bars.take(which))
        return self._written[:size]

    def _write(self, written: Bytes, position: NDArray[np.int32], bars: Bars) -> int:
        """Write some rows and return their size.

        What the last number of a row writes too much ends before the first number of the next: all between
        them is of exact size, together no shorter than any number, and written afterwards.
        """
        _, *columns = bars.columns()
        text = numbers(np.concatenate(columns))
        marks, sizes = _texts(text, len(columns))
        widest = int(sizes.max())
        sizes[-1][np.isnan(bars.volume)] = len(self.absent)

        heads = self._head_sizes[position]
        ends = (sizes.sum(axis=0) + heads + self._other_sizes).cumsum()
        starts = np.zeros_like(ends)
        starts[1:] = ends[:-1]

        source, target = _items(text + bytes(widest), widest, 1), _items(written, widest)
        at = starts + (heads + WIDTH + len(self.parts[2]))
        for mark, size, part in zip(marks, sizes, self.parts[3:], strict=True):
            target[at] = source[mark]
            at += size
            _items(written, len(part))[at] = _item(part)
            at += len(part)
        self._write_heads(written, starts, heads, position)
        _write_stamps(written, starts + heads, bars.ts, self.parts[2])
        return int(ends[-1])

    def _write_heads(
        self, written: Bytes, starts: Places, sizes: Places, position: NDArray[np.int32]
    ) -> None:
        """Write all up to the stamps, the rows with heads of one size at a time."""
        heads = self._head_starts[position]
        for size in self._distinct_sizes:
            which = sizes == size if len(self._distinct_sizes) > 1 else slice(None)
            _items(written, size)[starts[which]] = _items(self._heads, size)[heads[which]]


class ObjectEncoder(RowEncoder):
    """Bars as JSON objects."""

    absent = b"null"

    @staticmethod
    def quoted(label: str) -> bytes:
        """Write a symbol as a JSON string."""
        return orjson.dumps(label)


def object_parts(behind: bytes) -> tuple[bytes, ...]:
    """Return the constant parts of a JSON object, and what follows it."""
    symbol, ts, *floats = (f'"{name}":' for name in COLUMNS)
    first, *others = (f",{name}".encode() for name in floats)
    return (f"{{{symbol}".encode(), f',{ts}"'.encode(), b'"' + first, *others, b"}" + behind)


def _write_stamps(written: Bytes, at: Places, ts: Stamps, behind: bytes) -> None:
    texts = np.ndarray(len(ts), _void(WIDTH), stamps(ts), len('["'), (STEP,))
    _items(written, WIDTH)[at] = texts
    _items(written, len(behind))[at + WIDTH] = _item(behind)


def _texts(array: bytes, columns: int) -> tuple[Places, Places]:
    """Find the numbers in a JSON array: the place before each, and its size, both of shape (columns, n)."""
    marks = np.frombuffer(array, np.uint8) == ord(",")
    marks[0] = marks[-1] = True  # the brackets
    places = marks.nonzero()[0]
    return places[:-1].reshape(columns, -1), (places[1:] - places[:-1] - 1).reshape(columns, -1)


def _items(text: bytes | Bytes, width: int, first: int = 0) -> Items:
    """View the items of some width that begin at each byte from the first on: they overlap."""
    return np.ndarray(len(text) - first - width + 1, _void(width), text, first, (1,))


@cache
def _item(text: bytes) -> Items:
    return np.frombuffer(text, _void(len(text)))


@cache
def _void(width: int) -> np.dtype[np.void]:
    return np.dtype((np.void, width))
