"""What repositories do without a database: wire format, order, ranges."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_data.core.bars import Bars
from market_data.db.binary_copy import HEADER, TRAILER, RowBuffer, RowFormat
from market_data.repositories.market_price import BarBlock, _ordered
from market_data.repositories.market_price_writer import WriteCounts

# 2024-01-02T00:00:00Z is 757,468,800 s after 2000-01-01: 24 years of 365 days, 6 leap days, 1 day.
TS = 757_468_800_000_000
ROW = struct.pack(">hiiiqid", 3, 4, 7, 8, TS, 8, 0.00000812)
FORMAT = RowFormat("int4", "timestamptz", "float8")


def test_rows_are_written_as_postgresql_documents_them():
    columns = np.array([7], "int32"), np.array(["2024-01-02"], "datetime64[us]"), np.array([0.00000812])
    assert FORMAT.encode(*columns) == ROW
    assert b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0) == HEADER
    assert struct.pack(">h", -1) == TRAILER


def test_rows_are_read_as_postgresql_documents_them():
    numbers, stamps, values = FORMAT.decode(ROW + ROW)
    assert numbers.tolist() == [7, 7]
    assert [str(stamp) for stamp in stamps] == ["2024-01-02T00:00:00.000000"] * 2
    assert [value.hex() for value in values.tolist()] == [(0.00000812).hex()] * 2
    assert all(column.dtype.isnative for column in (numbers, stamps, values))
    assert [len(column) for column in FORMAT.decode(b"")] == [0, 0, 0]


@given(st.lists(st.floats(allow_nan=True, width=64), max_size=50))
def test_doubles_survive_bit_for_bit(values):
    (back,) = RowFormat("float8").decode(RowFormat("float8").encode(np.array(values, "float64")))
    assert back.tobytes() == np.array(values, "float64").tobytes()


@given(st.integers(0, 20), st.lists(st.integers(1, 9), max_size=99), st.integers(1, 5))
def test_pieces_may_end_anywhere(count, sizes, take):
    rows = [ROW[:6] + struct.pack(">i", number) + ROW[10:] for number in range(count)]
    stream = HEADER + b"".join(rows) + TRAILER
    buffer, taken, place = RowBuffer(len(ROW)), [], 0
    for size in [*sizes, len(stream)]:
        buffer.feed(stream[place : place + size])
        place += size
        while buffer.rows >= take:
            taken.append(buffer.take(take))
    taken.append(buffer.take(buffer.rows))
    assert b"".join(taken) == b"".join(rows)


def block(*positions: int) -> BarBlock:
    column = np.ones(len(positions))
    stamps = np.arange(len(positions)).astype("datetime64[us]")
    return BarBlock(np.array(positions, "int32"), Bars(stamps, *[column] * 5))


def test_ranges_out_of_order_are_never_handed_on():
    assert _ordered(block(2, 2, 5), 2).position.tolist() == [2, 2, 5]
    for wrong in (block(2, 5, 3), block(1, 2)):
        with pytest.raises(RuntimeError, match="out of order"):
            _ordered(wrong, 2)


def test_counts_add_up():
    assert WriteCounts(1, 2, 3) + WriteCounts(10, 20, 30) == WriteCounts(11, 22, 33)
