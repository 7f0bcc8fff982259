import gzip
import io
import json
import struct
from contextlib import suppress

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from market_data.core.exceptions import BodyTooLarge, UnreadableBody, UnsupportedFormat
from market_data.etl.readers import csv_text, ipc_limits
from market_data.etl.readers.blocks import MAX_LINE, block_size
from market_data.etl.readers.chunk import CHUNK_ROWS, Chunk, merged
from market_data.etl.readers.format import FileFormat, read, unpacked

DOUBLES = st.floats(allow_nan=False, allow_infinity=False)


class Pipe(io.RawIOBase):
    """Standard input: it can be read once, and in pieces of any size."""

    def __init__(self, data):
        self._data = io.BytesIO(data)

    def readable(self):
        return True

    def readinto(self, buffer):
        piece = self._data.read(min(len(buffer), 7))
        buffer[: len(piece)] = piece
        return len(piece)


def chunks(body, file_format, chunk_rows=CHUNK_ROWS):
    return list(read(io.BytesIO(body), FileFormat(file_format), chunk_rows))


def rows(body, file_format, chunk_rows=CHUNK_ROWS):
    return [row for chunk in chunks(body, file_format, chunk_rows) for row in chunk.table.rows(named=True)]


def refused(body, file_format, match, chunk_rows=CHUNK_ROWS):
    with pytest.raises(UnreadableBody, match=match):
        chunks(body, file_format, chunk_rows)


def arrow_body(table, *, file=False, **options):
    sink = io.BytesIO()
    opened = (pa.ipc.new_file if file else pa.ipc.new_stream)(
        sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)
    )
    with opened as writer:
        writer.write(table)
    return sink.getvalue()


def parquet_body(table, **options):
    sink = io.BytesIO()
    parquet.write_table(table, sink, **options)
    return sink.getvalue()


# Formats


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("text/csv", "csv"),
        ("Text/CSV; charset=UTF-8; header=present", "csv"),
        ('application/json;charset="utf-8"', "json"),
        ("application/x-ndjson", "ndjson"),
        ("application/ndjson; charset=us-ascii", "ndjson"),
        ("application/jsonl", "ndjson"),
        ("application/vnd.apache.arrow.stream", "arrow"),
        ("application/vnd.apache.parquet", "parquet"),
        ("application/x-parquet", "parquet"),
    ],
)
def test_media_types(text, found):
    assert FileFormat.from_media_type(text) is FileFormat(found)


@pytest.mark.parametrize("text", ["", "text/html", "json", "text/csv; charset=latin-1", "*/*"])
def test_other_media_types_are_refused(text):
    with pytest.raises(UnsupportedFormat, match="is not read"):
        FileFormat.from_media_type(text)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.csv", "csv"),
        ("/tmp/x.y/A.CSV.GZ", "csv"),  # noqa: S108 - a name, nothing is written
        ("a.ndjson", "ndjson"),
        ("a.jsonl.gz", "ndjson"),
        ("a.json", "json"),
        ("a.arrow", "arrow"),
        ("a.arrows", "arrow"),
        ("a.parquet", "parquet"),
    ],
)
def test_file_names(name, found):
    assert FileFormat.from_path(name) is FileFormat(found)


@pytest.mark.parametrize("name", ["a", "a.txt", "a.gz", "csv", "a.parquet.gz", "a.arrow.gz", ""])
def test_other_file_names_are_refused(name):
    with pytest.raises(UnsupportedFormat, match="tells no format"):
        FileFormat.from_path(name)


def test_gzip_is_unpacked_on_the_fly():
    packed = gzip.compress(b"a,b\n1,2\n")
    with unpacked(io.BytesIO(packed), "x.csv.gz") as plain:
        assert [c.table.rows() for c in read(plain, FileFormat.CSV)] == [[("1", "2")]]
    with unpacked(io.BytesIO(b"as it is"), "x.csv") as plain:
        assert plain.read() == b"as it is"


@pytest.mark.parametrize(
    "broken",
    [b"no gzip at all", gzip.compress(b"a,b\n1,2\n")[:-6], gzip.compress(b"a" * 99)[:20]],
    ids=["plain", "without its end", "cut"],  # gzip holds the time, which no test's name may depend on
)
@pytest.mark.parametrize("file_format", [FileFormat.CSV, FileFormat.NDJSON, FileFormat.JSON])
def test_broken_gzip_is_unreadable(broken, file_format):
    with pytest.raises(UnreadableBody), unpacked(io.BytesIO(broken), "x.gz") as plain:
        list(read(plain, file_format))


def test_flipped_bits_in_gzip_are_unreadable():
    packed = bytearray(gzip.compress(bytes(range(256)) * 4))
    packed[40] ^= 0xFF
    with pytest.raises(UnreadableBody, match="gzip"), unpacked(io.BytesIO(bytes(packed)), "x.gz") as plain:
        plain.read()


@pytest.mark.parametrize("file_format", list(FileFormat))
@pytest.mark.parametrize("error", [BodyTooLarge(3), KeyError("lost")])
def test_errors_of_the_stream_keep_their_kind(file_format, error):
    class Broken(io.BytesIO):
        def read(self, _size=-1):
            raise error

        readline = read

    expected = type(error) if isinstance(error, BodyTooLarge) else (KeyError, UnreadableBody)
    with pytest.raises(expected):
        list(read(Broken(bytes(100)), file_format))


# CSV


def test_csv_cells_stay_text():
    body = b'\xef\xbb\xbfsymbol,open,note\r\nA,1.10,"x, ""y""\nz"\r\n\r\nB,, \r\n'
    assert rows(body, "csv") == [
        {"symbol": "A", "open": "1.10", "note": 'x, "y"\nz'},
        {"symbol": "B", "open": "", "note": " "},
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_delimiters(delimiter):
    body = "\n".join(delimiter.join(row) for row in [["ts", "open"], ["2024-01-02", "1"]]).encode()
    assert rows(body, "csv") == [{"ts": "2024-01-02", "open": "1"}]


def test_csv_without_rows_still_tells_its_columns():
    (chunk,) = chunks(b"\n\nsymbol , ts\n", "csv")
    assert chunk.table.columns == ["symbol", "ts"]
    assert len(chunk) == 0


def test_csv_of_one_column():
    assert rows(b"a\nx\ny", "csv") == [{"a": "x"}, {"a": "y"}]


def test_ragged_lines_are_rejections_and_cost_no_other_line():
    body = b"a,b,c\n1,2,3\nonly\n4,5,6\n7,8,9,10\n" + b"x" * 9000 + b"\n"
    (chunk,) = chunks(body, "csv")
    assert chunk.table.rows() == [("1", "2", "3"), ("4", "5", "6")]
    assert len(chunk) == 5
    assert [(r.reason, r.detail) for r in chunk.broken.kept] == [
        ("unreadable", "The line has 1 cells, the header 3."),
        ("unreadable", "The line has 4 cells, the header 3."),
        ("unreadable", "The line has 1 cells, the header 3."),
    ]
    assert [r.text for r in chunk.broken.kept] == ["only", "7,8,9,10", "x" * 4096]


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (b"", "needs a header"),
        (b"\n \n", "needs a header"),
        (b"a,,c\n1,2,3\n", "column 2 of the header has no name"),
        (b"a,b,a\n1,2,3\n", "repeats 'a'"),
        (b'a,"b\n1,2\n', "header line cannot be read"),
        (b"a,\xff\n", "header is not UTF-8"),
        (b"a,b\x00\n", "NUL"),
        (b"a,b\n1,\x00\n", "NUL"),
        (b"a,b\n1,\xff\n", "not UTF-8"),
        (b"a,b\n1,2,\xff\n", "not UTF-8"),
        (b"a,b\n1,\xe2\x82", "not UTF-8"),
        (b"\xff\xfea\x00,\x00", "UTF-16"),
        (b"a" * 70_000, "header line is longer"),
        (b'a,b\n1,2\n3,"4\n5,6\n', "never closed"),
        (b'a,b\n1,2\n3,"4', "never closed"),
        (b'a,b\n"' + b"x,\n" * 100_000, "never closed"),
        (b"a,b\n1," + b"x" * 100_000, "too long"),
    ],
)
def test_broken_csv_is_unreadable(body, match):
    refused(body, "csv", match, chunk_rows=10)


def test_csv_chunks_hold_at_most_the_rows_asked_for():
    body = b"a,b\n" + b"".join(b"%d,x\n" % i for i in range(25_000)) + b"ragged\n"
    found = chunks(body, "csv", 4_000)
    assert max(chunk.table.height for chunk in found) == 4_000
    assert len(found) <= 14
    assert [int(a) for chunk in found for a in chunk.table["a"]] == list(range(25_000))
    assert sum(map(len, found)) == 25_001


def test_csv_source_refuses_nul_and_says_its_end_once():
    # Arrow calls this from a thread of its own, where no coverage is measured.
    source = csv_text._Ended(io.BytesIO(b"a,b\n"), "END")
    assert [source.read(99) for _ in range(3)] == [b"a,b\n", b"\nEND\n", b""]
    with pytest.raises(UnreadableBody, match="NUL"):
        csv_text._Ended(io.BytesIO(b"\x00"), "END").read(99)
    with pytest.raises(UnreadableBody, match="not UTF-8"):
        csv_text._Ended(io.BytesIO(b"\xff"), "END").read(99)
    assert csv_text._explain("anything else\nmore") == "the CSV cannot be read: anything else"


# NDJSON


def test_ndjson_rows():
    body = b'\xef\xbb\xbf{"a":"x","b":1.10}\r\n\n  \n{"b":2,"a":null}\n{"a":"\\u00e9","b":null}'
    assert rows(body, "ndjson") == [{"a": "x", "b": 1.1}, {"a": None, "b": 2.0}, {"a": "é", "b": None}]


def test_a_cell_of_another_type_costs_no_other_row():
    body = b'{"a":1.5}\n{"a":"N/A"}\n{"a":true}\n{"a":[1]}\n{"a":0.1}\n{"a":1e400}\n{"b":1}'
    found = rows(body, "ndjson")
    assert [row["a"] for row in found] == ["1.5", "N/A", "true", "[1]", "0.1", "Infinity", None]
    assert found[-1]["b"] == "1"


@pytest.mark.parametrize("name", ["volume", "instrument_id", "exchange"])
def test_a_column_that_only_late_rows_have_is_found(name):
    body = b'{"symbol":"A","interval":"1d","o":1}\n' * 5000 + b'{"symbol":"A","%s":7}' % name.encode()
    assert rows(body, "ndjson")[-1][name] == "7"


def test_integers_beyond_doubles_stay_exact():
    body = b'{"n":9007199254740993,"m":null}\n{"n":9007199254740995,"m":"x"}'
    assert [row["n"] for row in rows(body, "ndjson")] == ["9007199254740993", "9007199254740995"]


@pytest.mark.parametrize(
    ("line", "match"),
    [
        (b'{"a":', "line 3, column 6"),
        (b'{"a":1}{"a":2}', "line 3, column 8"),
        (b'{"a":1,}', "line 3, column"),
        (b"[1]", "line 3 is not a JSON object"),
        (b"3", "line 3 is not a JSON object"),
        (b'{"a":"\xff"}', "line 3 is not UTF-8 at byte 7"),
        (b'{"a":NaN}', "NaN is no JSON number"),
        (b'{"a":' + b"[" * 200_000, "line 3 is not JSON"),
    ],
)
@pytest.mark.parametrize("first", [b'{"a":1}\n\n', b"\n\n"])
def test_a_broken_line_makes_all_unreadable(line, match, first):
    refused(first + line, "ndjson", match)


def test_line_numbers_count_through_all_blocks():
    good = b'{"a":1}\n' * 30_000
    refused(good + b'{"a"\n', "ndjson", "line 30001, column 5", chunk_rows=100)
    assert len(rows(good, "ndjson", 100)) == 30_000


def test_a_line_without_end_is_unreadable():
    refused(b'{"a":"' + b"x" * (MAX_LINE + 10), "ndjson", "longer than")


def test_ndjson_needs_no_last_newline_and_may_be_empty():
    assert rows(b'{"a":"x"}', "ndjson") == [{"a": "x"}]
    assert chunks(b"", "ndjson") == []
    assert rows(b"\n\n", "ndjson") == []
    assert block_size(1) < block_size(1_000) < block_size(10**9) == MAX_LINE


# JSON


@pytest.mark.parametrize(
    "body",
    [
        b'[{"a":"x\\n","b":1},\n {"a":"y","b":2.5}]',
        b' {"data":[{"a":"x\\n","b":1},{"a":"y",\r\n"b":2.5}],"next_page_token":null}',
        b'{"symbols":{}, "data": {"a":["x\\n","y"],"b":[1,2.5]}}',
    ],
)
def test_json_shapes(body):
    assert rows(body, "json") == [{"a": "x\n", "b": 1.0}, {"a": "y", "b": 2.5}]
    assert len(chunks(body, "json", 1)) == 2


@pytest.mark.parametrize("body", [b"[]", b'{"data":[]}', b'{"data":{}}', b'{"data":{"a":[]}}'])
def test_empty_json(body):
    assert rows(body, "json") == []


def test_columns_of_mixed_cells_become_text():
    body = b'{"data":{"a":[1,"x",true,null,[1]],"b":[1,2,null,4,1e400]}}'
    (chunk,) = chunks(body, "json")
    assert chunk.table["a"].to_list() == ["1", "x", "true", None, "[1]"]
    assert chunk.table["b"].to_list() == ["1", "2", None, "4", "Infinity"]


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (b"", "no JSON array"),
        (b'"text"', "no JSON array"),
        (b'{"rows":[]}', "no JSON array.*data"),
        (b'{"data":3}', "no JSON array"),
        (b'[{"a":1}', "no JSON array"),
        (b'[{"a":1},\n  x]', "line 2, column 3"),
        (b'[{"a":1}] trailing', "line 1, column 1"),
        (b'[{"a":1},[2]]', "row 2 is not a JSON object"),
        (b'[{"a":1},null]', "row 2 is not a JSON object"),
        (b'[{"a":"\xff"}]', "row 1 is not UTF-8"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"data":{"a":[1,2],"b":[1]}}', "different lengths: 1, 2"),
        (b'{"data":{"a":3}}', "column 'a' of data is not an array"),
        (b'{"data":{"a":["\xff"]}}', "column 'a' is not UTF-8"),
        (b"\xff\xfe[\x00", "UTF-16"),
    ],
)
def test_broken_json_is_unreadable(body, match):
    refused(body, "json", match)


# Arrow and Parquet

TYPED = {
    "text": pa.array(["a", None]),
    "large": pa.array(["a", None], pa.large_string()),
    "view": pa.array(["a", None], pa.string_view()),
    "dictionary": pa.array(["a", None]).dictionary_encode(),
    "coded": pa.array([7, None], pa.int32()).dictionary_encode(),
    "int": pa.array([1, None], pa.int16()),
    "half": pa.array(np.array([1.5, 2.5], np.float16)),
    "decimal": pa.array([1, None]).cast(pa.decimal128(38, 10)),
    "seconds": pa.array([1_704_153_600, None], pa.timestamp("s")),
    "zoned": pa.array([1_704_153_600_000_000_000, None], pa.timestamp("ns", tz="America/New_York")),
    "day": pa.array([19_724, None], pa.date32()),
    "day64": pa.array([19_724 * 86_400_000, None], pa.date64()),
    "clock": pa.array([3600, None], pa.time32("s")),
    "flag": pa.array([True, None]),
    "nothing": pa.nulls(2),
    "list": pa.array([[1], None]),
    "struct": pa.array([{"x": 1}, None]),
    "bytes": pa.array([b"a", None]),
}


def check_typed(chunk):
    table = chunk.table
    assert {table[name].to_list()[0] for name in ("text", "large", "view", "dictionary")} == {"a"}
    assert table.schema["dictionary"] == pl.String
    assert table["coded"].to_list() == [7, None]
    assert table["decimal"].cast(pl.Float64).to_list() == [1.0, None]
    assert table["seconds"].dtype == pl.Datetime("us")
    assert table["zoned"].dtype == pl.Datetime("us", "UTC")
    for name in ("seconds", "zoned", "day", "day64"):
        assert str(table[name][0])[:10] == "2024-01-02"
        assert table[name][1] is None
    assert list(chunk.unusable) == ["list", "struct", "bytes"]
    assert "list" in chunk.unusable["list"]


@pytest.mark.parametrize("file", [False, True])
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_arrow_types(file, compression):
    body = arrow_body(pa.table(TYPED), file=file, compression=compression)
    (chunk,) = chunks(body, "arrow")
    check_typed(chunk)
    with io.BufferedReader(Pipe(body)) as pipe:
        (again,) = read(pipe, FileFormat.ARROW)
    assert again.table.equals(chunk.table)


def test_parquet_types():
    kinds = {name: array for name, array in TYPED.items() if name != "half"}
    body = parquet_body(pa.table(kinds), store_schema=True)
    (chunk,) = chunks(body, "parquet")
    check_typed(chunk)
    with io.BufferedReader(Pipe(body)) as pipe:
        (again,) = read(pipe, FileFormat.PARQUET)
    assert again.table.equals(chunk.table)


@pytest.mark.parametrize("encode", [arrow_body, parquet_body])
def test_files_without_rows_still_tell_their_columns(encode):
    body = encode(pa.table({"a": pa.array([], pa.string()), "l": pa.array([], pa.list_(pa.int8()))}))
    (chunk,) = chunks(body, "arrow" if encode is arrow_body else "parquet")
    assert chunk.table.columns == ["a"]
    assert chunk.unusable == {"l": chunk.unusable["l"]}


@pytest.mark.parametrize("encode", [arrow_body, parquet_body])
def test_batches_are_cut_and_joined_to_the_rows_asked_for(encode):
    table = pa.table({"a": np.arange(1000)})
    body = encode(table, **({} if encode is arrow_body else {"row_group_size": 30}))
    found = chunks(body, "arrow" if encode is arrow_body else "parquet", 300)
    assert [a for chunk in found for a in chunk.table["a"]] == list(range(1000))
    assert max(map(len, found)) <= 300
    assert len(found) <= 5


def test_small_batches_are_joined_and_the_first_chunks_are_small_so_that_storing_begins_soon():
    parts = [Chunk(pl.DataFrame({"a": [n] * 10})) for n in range(100)]
    found = list(merged(parts, 400))
    assert [len(chunk) for chunk in found] == [50, 100, 200, 400, 250]
    assert [a for chunk in found for a in chunk.table["a"][::10]] == list(range(100))


@pytest.mark.parametrize("kind", [pa.timestamp("s"), pa.timestamp("ns", "UTC"), pa.date32(), pa.date64()])
def test_any_integer_can_stand_as_a_time(kind):
    limit = 2**31 if kind == pa.date32() else 2**63
    step = 86_400_000 if kind == pa.date64() else 1
    ends = [-limit // step * step + step, (limit - 1) // step * step]
    (chunk,) = chunks(
        arrow_body(
            pa.table({"t": pa.array(ends).cast(pa.int32() if limit == 2**31 else pa.int64()).view(kind)})
        ),
        "arrow",
    )
    assert [value.year for value in chunk.table["t"]] == (
        [1, 9999] if kind.id != pa.timestamp("ns").id or kind.unit == "s" else [1677, 2262]
    )


def test_wide_decimals_become_text():
    (chunk,) = chunks(arrow_body(pa.table({"d": pa.array([1]).cast(pa.decimal256(50, 3))})), "arrow")
    assert chunk.table["d"].to_list() == ["1.000"]


def test_a_long_dictionary_value_is_not_copied_for_each_row():
    codes = pa.array(np.zeros(200_000, np.int8))
    table = pa.table({"s": pa.DictionaryArray.from_arrays(codes, pa.array(["x" * 100_000]))})
    (chunk,) = chunks(arrow_body(table), "arrow", 200_000)
    assert chunk.table["s"][199_999] == "x" * 100_000


def test_repeated_columns_are_unreadable():
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    refused(arrow_body(table), "arrow", "repeats 'a'")
    refused(parquet_body(table), "parquet", None)


def test_a_batch_that_unpacks_beyond_the_limit_is_refused(monkeypatch):
    body = arrow_body(pa.table({"a": np.zeros(100_000), "s": ["x"] * 100_000}), compression="zstd")
    assert len(body) < 300_000
    assert len(rows(body, "arrow")) == 100_000
    monkeypatch.setattr(ipc_limits, "MAX_BATCH_BYTES", 1_000_000)
    refused(body, "arrow", "unpacks to 1[23]\\d{5} bytes")


def test_a_dictionary_that_unpacks_beyond_the_limit_is_refused(monkeypatch):
    words = pa.array(["x" * 100_000]).dictionary_encode()
    monkeypatch.setattr(ipc_limits, "MAX_BATCH_BYTES", 50_000)
    refused(arrow_body(pa.table({"s": words}), compression="zstd"), "arrow", "unpacks to 1000\\d\\d bytes")
    assert len(rows(arrow_body(pa.table({"s": words})), "arrow")) == 1


def test_types_that_crash_arrow_are_never_touched():
    union = pa.UnionArray.from_dense(pa.array([], pa.int8()), pa.array([], pa.int32()), [])
    table = pa.table({"u": union, "a": pa.array([], pa.string())})
    (chunk,) = chunks(arrow_body(table), "arrow")
    assert chunk.table.columns == ["a"]
    assert list(chunk.unusable) == ["u"]


def test_decimals_of_no_sense_are_not_used():
    table = pa.table({"d": pa.array([1]).cast(pa.decimal128(20, 0)).cast(pa.decimal128(20, -2), safe=False)})
    (chunk,) = chunks(arrow_body(table), "arrow")
    assert chunk.unusable == {"d": "decimal128(20, -2)"}


@pytest.mark.parametrize("file_format", ["arrow", "parquet"])
@pytest.mark.parametrize("body", [b"", b"ARROW1", b"PAR1", b"ARROW1\0\0" + b"\xff" * 40, b"symbol,ts\n1,2\n"])
def test_other_bytes_are_unreadable(file_format, body):
    refused(body, file_format, "cannot be read|truncated")


SMALL = pa.table(
    {"symbol": ["A", "B", None], "open": [1.0, 2.0, None], "ts": pa.array([1, 2, 3], pa.timestamp("us"))}
)
BODIES = [
    ("arrow", arrow_body(SMALL)),
    ("arrow", arrow_body(SMALL, file=True, compression="zstd")),
    ("arrow", arrow_body(pa.table({"d": pa.array(["a", "b", "a"]).dictionary_encode()}))),
    ("parquet", parquet_body(SMALL)),
    ("parquet", parquet_body(SMALL, compression="none", use_dictionary=False)),
]


@settings(max_examples=300, derandomize=True, deadline=None)
@given(body=st.sampled_from(BODIES), data=st.data())
def test_damaged_bodies_are_unreadable_and_nothing_worse(body, data):
    file_format, good = body
    damaged = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(good) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with suppress(UnreadableBody):
        for row in rows(bytes(damaged), file_format):
            str(row)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(body=st.sampled_from(BODIES), cut=st.floats(0, 1, exclude_max=True))
def test_truncated_bodies_are_unreadable_or_end_between_batches(body, cut):
    file_format, good = body
    part = good[: int(len(good) * cut)]
    with suppress(UnreadableBody):
        assert rows(part, file_format) in ([], rows(good, file_format))
        assert part.startswith(b"\xff\xff\xff\xff")  # only a stream may end without saying so


@settings(max_examples=200, derandomize=True, deadline=None)
@given(body=st.one_of(st.binary(max_size=60), st.text(alphabet='a,;"\n\r\t1{}[]: \u00e9', max_size=60)))
@pytest.mark.parametrize("file_format", list(FileFormat))
def test_any_bytes_are_read_or_unreadable(file_format, body):
    with suppress(UnreadableBody):
        rows(body if isinstance(body, bytes) else body.encode(), file_format)


# Numbers


@given(numbers=st.lists(DOUBLES, min_size=1, max_size=20))
def test_doubles_come_back_bit_for_bit(numbers):
    text = [repr(number) for number in numbers]
    objects = [{"x": number} for number in numbers]
    bodies = {
        "csv": ("x\n" + "\n".join(text)).encode(),
        "ndjson": "\n".join(map(json.dumps, objects)).encode(),
        "json": json.dumps(objects).encode(),
        "arrow": arrow_body(pa.table({"x": numbers})),
        "parquet": parquet_body(pa.table({"x": numbers})),
    }
    bits = [struct.pack("<d", number) for number in numbers]
    for file_format, body in bodies.items():
        found = [float(row["x"]) for row in rows(body, file_format)]
        assert [struct.pack("<d", number) for number in found] == bits
    columns = rows(json.dumps({"data": {"x": numbers}}).encode(), "json")
    assert [struct.pack("<d", float(row["x"])) for row in columns] == bits
