"""Tokens: only what was made comes back, only to the query that made it."""

import base64
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_data.core.exceptions import InvalidPageToken
from market_data.services.paging import IdKey, SymbolKey, decode_token, encode_token
from market_data.services.price_page import Cursor

QUERY = ("prices", ("A", "B"), 7)
SYMBOLS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=32)
IDS = st.integers(1, 2**31 - 1)


class Anything(NamedTuple):
    value: str


@given(SYMBOLS, IDS)
def test_a_key_comes_back_to_its_query(symbol, number):
    token = encode_token((symbol, number), QUERY)
    assert decode_token(token, QUERY, SymbolKey) == (symbol, number)
    for other in (("prices", ("A", "B"), 8), ("prices", ("B", "A"), 7), ("series", ("A", "B"), 7), None):
        with pytest.raises(InvalidPageToken, match="another query"):
            decode_token(token, other, SymbolKey)


@given(
    st.integers(0, 999),
    st.integers(-(10**15), 10**15),
    st.lists(IDS, max_size=50),
    st.lists(st.integers(0, 999)),
)
def test_cursors_come_back(position, ts, series, seen):
    cursor = Cursor(position, ts, series, seen)
    token = encode_token(cursor, QUERY)
    assert decode_token(token, QUERY, Cursor) == cursor
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(st.text(max_size=60))
def test_whatever_was_not_made_here_is_refused(text):
    with pytest.raises(InvalidPageToken) as refused:
        decode_token(text, QUERY, SymbolKey)
    assert refused.value.field == "page_token"
    assert "start again without it" in str(refused.value)


@given(st.data(), SYMBOLS, IDS)
def test_one_changed_bit_is_noticed(data, symbol, number):
    token = encode_token((symbol, number), QUERY)
    raw = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    place = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[place // 8] ^= 1 << place % 8
    with pytest.raises(InvalidPageToken):
        decode_token(base64.urlsafe_b64encode(raw).decode().rstrip("="), QUERY, SymbolKey)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (("A\x00", 1), SymbolKey),
        (("", 1), SymbolKey),
        (("A", 0), SymbolKey),
        (("A", 2**31), SymbolKey),
        (("A",), SymbolKey),
        (("A", "B"), SymbolKey),
        ((0,), IdKey),
        ((2**63,), IdKey),
        (("1",), IdKey),
        ((-1, 0, [1], []), Cursor),
        ((0, 2**60, [1], []), Cursor),
        ((0, 0, [-1], []), Cursor),
        ((0, 0, [2**31], []), Cursor),
    ],
)
def test_what_no_page_can_hold_is_refused_even_when_well_sealed(key, kind):
    with pytest.raises(InvalidPageToken):
        decode_token(encode_token(key, QUERY), QUERY, kind)


def test_a_cursor_fits_its_query_only():
    cursor = Cursor(1, 0, [5, 6], [0])
    assert cursor.fits(2)
    assert not cursor.fits(1)
    assert not cursor.fits(3)
    assert not Cursor(2, 0, [5, 6], []).fits(2)


def test_a_damaged_token_tells_what_to_do():
    with pytest.raises(InvalidPageToken, match="limit and format may change"):
        decode_token("", QUERY, Anything)
