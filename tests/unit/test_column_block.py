"""Blocks of columns give back the very doubles they were given, and are small where prices are decimal."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_data.core.bars import Bars
from market_data.db.column_block import decode, encode

_doubles = st.floats(allow_nan=False, allow_infinity=False)
_decimals = st.integers(-(10**9), 10**9).map(lambda ticks: ticks / 10_000)
_volumes = st.one_of(st.just(float("nan")), st.floats(0, 1e18), st.integers(0, 10**9).map(lambda n: n / 1000))


def block(stamps: list[int], *columns: list[float]) -> Bars:
    return Bars(np.array(stamps, "int64").view("datetime64[us]"), *(np.array(c, "float64") for c in columns))


def assert_same(left: Bars, right: Bars) -> None:
    """Compare bit for bit, but for how NaN is written."""
    for ours, theirs in zip(left.columns(), right.columns(), strict=True):
        assert ours.dtype == theirs.dtype
        there = ~np.isnan(ours) if ours.dtype.kind == "f" else np.full(len(ours), fill_value=True)
        assert np.isnan(theirs).tolist() == (~there).tolist()
        assert ours[there].tobytes() == theirs[there].tobytes()


@pytest.mark.parametrize("prices", [_doubles, _decimals, st.one_of(_doubles, _decimals)])
@given(data=st.data())
def test_bars_come_back_bit_for_bit(prices, data):
    rows = data.draw(st.lists(st.tuples(prices, prices, prices, prices, _volumes), min_size=1, max_size=30))
    steps = data.draw(st.lists(st.integers(1, 10**13), min_size=len(rows), max_size=len(rows)))
    first = data.draw(st.integers(-(10**16), 10**16))
    given_bars = block((first + np.cumsum(steps)).tolist(), *(list(c) for c in zip(*rows, strict=True)))
    assert_same(decode(encode(given_bars)), given_bars)


@pytest.mark.parametrize("price", [-0.0, 5e-324, 1.7976931348623157e308, 0.1 + 0.2, 2.0**53 + 2, 1 / 3])
def test_what_is_not_decimal_comes_back(price):
    given_bars = block([0, 60_000_000], [price, 1.0], [price, 1.0], [price, 1.0], [1.0, price], [0.0, -0.0])
    assert_same(decode(encode(given_bars)), given_bars)


def test_absent_volumes_stay_absent():
    nan = float("nan")
    for volumes in ([nan, nan, nan], [1.5, nan, 0.0], [1 / 3, nan, 0.0]):
        given_bars = block([0, 1, 2], *[[1.0, 2.0, 3.0]] * 4, volumes)
        assert_same(decode(encode(given_bars)), given_bars)


def test_no_bars_are_no_bytes():
    assert encode(Bars.empty()) == b""
    assert len(decode(b"")) == 0


def test_a_day_of_minutes_takes_few_bytes():
    random = np.random.default_rng(1)
    close = np.round(100 + np.cumsum(random.integers(-5, 6, 1440)) / 100, 2)
    opened = np.concatenate((close[:1], close[:-1]))
    high, low = np.maximum(opened, close), np.minimum(opened, close)
    volume = random.integers(0, 500, 1440).astype("float64")
    stamps = (np.arange(1440) * 60_000_000).tolist()
    given_bars = block(stamps, *(c.tolist() for c in (opened, high, low, close, volume)))
    encoded = encode(given_bars)
    assert_same(decode(encoded), given_bars)
    assert len(encoded) < 1440 * 4  # beside 48 as doubles


def test_another_format_is_told():
    encoded = encode(block([0], *[[1.0]] * 5))
    with pytest.raises(ValueError, match="db reindex"):
        decode(b"\xff" + encoded[1:])
