"""Which coding answers, and what comes out of it: read back by other implementations, piece by piece."""

import gzip
import zlib

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from market_data.api.compression import choose_coding, compressor

WHOLE = {"zstd": zstd.decompress, "gzip": gzip.decompress}
_pieces = st.lists(
    st.one_of(
        st.binary(max_size=300),
        st.tuples(st.binary(min_size=1, max_size=5), st.integers(0, 60_000)).map(lambda p: p[0] * p[1]),
    ),
    max_size=12,
)


def reader(coding: str):
    """Return a function that decompresses what has arrived so far."""
    if coding == "zstd":
        return zstd.ZstdDecompressor().decompress
    return zlib.decompressobj(31).decompress


@pytest.mark.parametrize("coding", WHOLE)
@given(pieces=_pieces)
def test_each_piece_can_be_read_as_soon_as_it_leaves(coding, pieces):
    packed, read = compressor(coding), reader(coding)
    sent = []
    for piece in pieces:
        sent.append(packed.compress(piece))
        assert read(sent[-1]) == piece
    sent.append(packed.finish())
    assert read(sent[-1]) == b""
    assert WHOLE[coding](b"".join(sent)) == b"".join(pieces)


@pytest.mark.parametrize("coding", WHOLE)
def test_text_becomes_smaller(coding):
    rows = b"".join(b"ACME,2024-01-%02dT00:00:00Z,10.5,10.5,10.5,10.5,100.0\n" % n for n in range(1, 32))
    packed = compressor(coding)
    assert len(packed.compress(rows) + packed.finish()) < len(rows) // 4


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        (None, None),
        ("", None),
        ("identity", None),
        ("br, deflate", None),
        ("gzip", "gzip"),
        ("GZip", "gzip"),
        ("zstd", "zstd"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, zstd;q=0.9", "gzip"),
        ("gzip;q=0.5, zstd;q=0.5", "zstd"),
        ("gzip;q=0.001", "gzip"),
        ("gzip;q=0", None),
        ("gzip;q=0, zstd;q=0.000", None),
        ("zstd;q=0, gzip", "gzip"),
        ("*", "zstd"),
        ("*;q=0", None),
        ("gzip, *;q=0", "gzip"),
        ("zstd;q=0, *", "gzip"),
        ("identity;q=1, gzip;q=0.5", None),
        ("identity;q=0.5, gzip;q=0.5", "gzip"),
        ("identity;q=0.5, *;q=0.1", None),
        ("identity;q=0, *", "zstd"),
        ("gzip ; q=1 , zstd ; q=0.1", "gzip"),
        ("gzip;q=nonsense, zstd;q=0.1", "zstd"),
        ("gzip;q=-1", None),
        (",,gzip,,", "gzip"),
    ],
)
def test_the_most_welcome_coding_answers(accepted, coding):
    assert choose_coding(accepted) == coding


@given(st.text(max_size=40))
def test_any_header_names_a_coding_or_none(accepted):
    assert choose_coding(accepted) in {None, "zstd", "gzip"}
