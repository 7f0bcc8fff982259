"""What repositories do without a database: wire format, order, ranges."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_data.core.interval import Interval
from market_data.core.vocabulary import SortOrder
from market_data.db.binary_copy import HEADER, TRAILER, RowFormat, read_column
from market_data.repositories.market_price_blocks import SeriesRange, Work, fetch_blocks
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


def test_columns_are_read_as_postgresql_sends_them():
    assert read_column("int4", struct.pack(">ii", 7, -8)).tolist() == [7, -8]
    assert str(read_column("timestamptz", ROW[14:22])[0]) == "2024-01-02T00:00:00.000000"
    assert read_column("float8", ROW[26:]).tolist() == [0.00000812]
    assert all(read_column(kind, b"\0" * 8).dtype.isnative for kind in ("int4", "timestamptz", "float8"))


@given(st.lists(st.floats(allow_nan=True, width=64), max_size=50))
def test_doubles_survive_bit_for_bit(values):
    rows = RowFormat("float8").encode(np.array(values, "float64"))
    sent = b"".join(rows[place + 6 : place + 14] for place in range(0, len(rows), 14))
    assert read_column("float8", sent).tobytes() == np.array(values, "float64").tobytes()


def test_counts_add_up():
    assert WriteCounts(1, 2, 3) + WriteCounts(10, 20, 30) == WriteCounts(11, 22, 33)


class Disorderly:
    """A connection whose blocks come in no order."""

    async def fetch(self, *_):
        return [(0, 2, b"", 1), (0, 1, b"", 1)]


async def test_blocks_out_of_order_are_never_handed_on():
    work = [Work.of(Interval.D1, SeriesRange(0, 1))]
    with pytest.raises(RuntimeError, match="out of order"):
        await fetch_blocks(Disorderly(), Interval.D1, work, SortOrder.ASC, 2, None)
    assert len(await fetch_blocks(Disorderly(), Interval.D1, work, SortOrder.DESC, 2, None)) == 2
