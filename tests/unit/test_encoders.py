"""Every format gives back the doubles it was given, bit for bit, as readers of others decode them."""

import csv
import io
import json
import math
import struct
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from market_data.api.encoders import ENCODERS, rows
from market_data.api.encoders.arrow import ArrowEncoder
from market_data.core.bars import COLUMNS, Bars
from market_data.repositories.market_price import BarBlock

TEXT = ("json", "ndjson", "csv", "columns")
LABELS = ["A", "XNAS:AAPL", 'Q"T;', "back\\slash", "12345", 'XNYS:"Q\\"' + "L" * 27]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

prices = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(10**9), 10**9).map(lambda cents: cents / 100),
    st.sampled_from(
        [0.0, -0.0, 1.0, 0.1 + 0.2, 1e300, 1e-12, -2.2250738585072014e-308, 5e-324, 123456789012345.0]
    ),
)
volumes = st.one_of(st.none(), prices.map(abs))
seconds = st.integers(-9_214_560_000, 9_214_560_000)  # the years 1678 to 2261
bars = st.tuples(st.integers(0, len(LABELS) - 1), seconds, st.tuples(prices, prices, prices, prices), volumes)


def block_of(given_rows):
    ts = np.array([one[1] for one in given_rows], "datetime64[s]").astype("datetime64[us]")
    columns = np.array(
        [[*one[2], math.nan if one[3] is None else one[3]] for one in given_rows], "float64"
    ).T.copy()
    return BarBlock(np.array([one[0] for one in given_rows], "int32"), Bars(ts, *columns))


def expected_of(given_rows):
    return [
        (LABELS[one[0]], f"{EPOCH + timedelta(seconds=one[1]):%Y-%m-%dT%H:%M:%SZ}", *one[2], one[3])
        for one in given_rows
    ]


def encode(format_name, blocks):
    """Encode without what needs a database: the end of an envelope."""
    encoder = ENCODERS[format_name](SimpleNamespace(labels=LABELS))
    pieces = [encoder.start(), *(encoder.block(block) for block in blocks)]
    if encoder.envelope:
        encoder.page.summary = lambda: SimpleNamespace(symbols={}, next_page_token=None)
    return b"".join((*pieces, *encoder.finish()))


def of_csv(content):
    header, *lines = csv.reader(io.StringIO(content.decode(), newline=""), strict=True)
    assert header == list(COLUMNS)
    return [
        (one[0], one[1], *(float(cell) for cell in one[2:6]), float(one[6]) if one[6] else None)
        for one in lines
    ]


def of_objects(objects):
    assert all(list(one) == list(COLUMNS) for one in objects)
    return [tuple(one.values()) for one in objects]


DECODERS = {
    "json": lambda content: of_objects(json.loads(content)["data"]),
    "ndjson": lambda content: of_objects(list(map(json.loads, content.decode().split("\n")[:-1]))),
    "csv": of_csv,
    "columns": lambda content: list(zip(*json.loads(content)["data"].values(), strict=True)),
}


def bits(decoded):
    return [
        (*one[:2], *(None if value is None else struct.pack("d", value) for value in one[2:]))
        for one in decoded
    ]


@pytest.mark.parametrize("format_name", TEXT)
@given(given_rows=st.lists(bars, min_size=1, max_size=40), cut=st.integers(0, 40))
@example(given_rows=[(0, 60 * n, (-2.2250738585072014e-308,) * 4, None) for n in range(5)], cut=2)
@example(given_rows=[(0, 0, (1.0,) * 4, 2.2250738585072014e-308), (0, 60, (1.0,) * 4, 1.0)] * 3, cut=0)
def test_text_gives_back_every_double_and_label(format_name, given_rows, cut):
    given_rows = sorted(given_rows, key=lambda one: one[0])
    blocks = [block_of(part) for part in (given_rows[:cut], given_rows[cut:]) if part]
    decoded = DECODERS[format_name](encode(format_name, blocks))
    assert bits(decoded) == bits(expected_of(given_rows))


@pytest.mark.parametrize("format_name", TEXT)
@pytest.mark.parametrize("count", [rows._ROWS - 1, rows._ROWS, 2 * rows._ROWS + 1])
def test_blocks_written_in_several_parts(format_name, count):
    given_rows = [
        (n * len(LABELS) // count, 60 * n, (n / 100, -n / 7, 0.0, 1e300), None if n % 3 else float(n))
        for n in range(count)
    ]
    decoded = DECODERS[format_name](encode(format_name, [block_of(given_rows), block_of(given_rows[:3])]))
    assert bits(decoded) == bits(expected_of(given_rows + given_rows[:3]))


def test_the_same_number_is_the_same_text_in_every_format():
    block = block_of([(0, 0, (1.5, 100.0, 1e-05, 1e22), 0.1 + 0.2)])
    objects = encode("ndjson", [block]).decode()
    cells = encode("csv", [block]).decode().splitlines()[1].split(",")
    written = [f'"{name}":{cell}' for name, cell in zip(COLUMNS[2:], cells[2:], strict=True)]
    assert objects == '{"symbol":"A","ts":"1970-01-01T00:00:00Z",' + ",".join(written) + "}\n"
    assert ",".join(written) in encode("json", [block]).decode()


@pytest.mark.parametrize("format_name", ["arrow", "parquet"])
@given(given_rows=st.lists(bars, min_size=1, max_size=40))
def test_tables_give_back_every_double_and_label(format_name, given_rows):
    schema = pa.schema(
        zip(COLUMNS, [pa.string(), pa.timestamp("us", "UTC"), *[pa.float64()] * 5], strict=True)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ArrowEncoder, "schema", lambda _: schema)
        content = encode(format_name, [block_of(given_rows)])
    tables = (
        [pa.ipc.open_stream(content).read_all()]
        if format_name == "arrow"
        else [pq.read_table(io.BytesIO(content)), pl.read_parquet(content).to_arrow()]
    )
    for table in tables:
        columns = [table[name].to_pylist() for name in COLUMNS]
        columns[1] = [f"{ts:%Y-%m-%dT%H:%M:%SZ}" for ts in columns[1]]
        assert bits(zip(*columns, strict=True)) == bits(expected_of(given_rows))
