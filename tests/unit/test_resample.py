"""Longer bars made of shorter ones, against the plain meaning of each figure."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_data.core.bars import Bars
from market_data.core.interval import Basis, Interval
from market_data.core.resample import Resampler
from market_data.core.vocabulary import SortOrder
from market_data.repositories.price_source import PriceRange, StoredKey
from market_data.services.derivation import can_make, cut_at, whole

MINUTES = {"5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240, "1d": 1440}
# The night to 31 March 2024 has clocks going forward in Europe; the month and a week end near it.
FIRST = datetime(2024, 3, 29, 21, tzinfo=UTC)
PRICE = st.integers(1, 9999).map(lambda ticks: ticks / 100)


@st.composite
def minutes(draw) -> list[tuple]:
    """Bars of some minutes within four days: start, four prices, volume."""
    starts = draw(st.lists(st.integers(0, 4 * 1440), min_size=1, max_size=60, unique=True))
    bars = []
    for start in sorted(starts):
        prices = draw(st.lists(PRICE, min_size=4, max_size=4))
        first, last = prices[:2]
        volume = draw(st.none() | st.integers(0, 10**6).map(lambda n: n / 8))
        bars.append((FIRST + timedelta(minutes=start), first, max(prices), min(prices), last, volume))
    return bars


def start_of(ts: datetime, interval: Interval) -> datetime:
    if interval is Interval.MO1:
        return ts.replace(day=1, hour=0, minute=0)
    if interval is Interval.W1:
        return (ts - timedelta(days=ts.weekday())).replace(hour=0, minute=0)
    into = (ts.hour * 60 + ts.minute) % MINUTES[interval]
    return ts - timedelta(minutes=into)


def expected(bars: list[tuple], interval: Interval) -> list[tuple]:
    groups: dict[datetime, list[tuple]] = {}
    for bar in bars:
        groups.setdefault(start_of(bar[0], interval), []).append(bar)
    made = []
    for start, group in groups.items():
        volumes = [Fraction(bar[5]) for bar in group if bar[5] is not None]
        high, low = max(bar[2] for bar in group), min(bar[3] for bar in group)
        volume = float(sum(volumes)) if volumes else None
        made.append((start, group[0][1], high, low, group[-1][4], volume))
    return made


def columns(bars: list[tuple]) -> Bars:
    ts, *floats = zip(*bars, strict=True)
    stamps = np.array([one.replace(tzinfo=None) for one in ts], "datetime64[us]")
    return Bars(stamps, *(np.array(column, "float64") for column in floats))


def rows(bars: Bars) -> list[tuple]:
    ts, *floats, volume = (column.tolist() for column in bars.columns())
    absent = [None if np.isnan(one) else one for one in volume]
    return list(zip((one.replace(tzinfo=UTC) for one in ts), *floats, absent, strict=True))


@given(
    minutes(), st.lists(st.integers(0, 60)), st.sampled_from(list(Interval)[1:]), st.sampled_from(SortOrder)
)
def test_bars_are_made_however_they_stream_by(bars, cuts, interval, sort):
    ordered = bars if sort is SortOrder.ASC else bars[::-1]
    resampler, found = Resampler(interval, sort), []
    ends = sorted({min(cut, len(bars)) for cut in cuts} | {len(bars)})
    for first, end in zip([0, *ends], ends, strict=False):
        if end > first:
            found += rows(resampler.add(columns(ordered[first:end])))
    found += rows(resampler.finish())
    wanted = expected(bars, interval)
    assert found == (wanted if sort is SortOrder.ASC else wanted[::-1])
    assert len(resampler.finish()) == 0


def test_whole_bars_come_out_as_soon_as_another_begins():
    bars = [(FIRST + timedelta(minutes=n), 1.0, 1.0, 1.0, 1.0, 1.0) for n in range(12)]
    resampler = Resampler(Interval.M5)
    assert len(resampler.add(columns(bars[:5]))) == 0
    assert len(resampler.add(columns(bars[5:11]))) == 2
    assert rows(resampler.finish()) == [(FIRST + timedelta(minutes=10), 1.0, 1.0, 1.0, 1.0, 1.0)]


def key(interval: Interval, *, is_aligned: bool = True) -> StoredKey:
    return StoredKey(1, 1, interval, "s", Basis.RAW, 1, None, None, is_aligned)


@pytest.mark.parametrize(
    ("base", "wanted", "asset_class", "can"),
    [
        (Interval.M1, Interval.H1, "equity", True),
        (Interval.M1, Interval.D1, "equity", False),
        (Interval.M1, Interval.D1, "crypto", True),
        (Interval.H1, Interval.MO1, "crypto", True),
        (Interval.H1, Interval.W1, "fx", False),
        (Interval.D1, Interval.W1, "equity", True),
        (Interval.D1, Interval.MO1, "fund", True),
    ],
)
def test_days_are_made_of_minutes_only_where_trading_never_stops(base, wanted, asset_class, can):
    assert can_make(key(base), wanted, asset_class) is can
    assert can_make(key(base, is_aligned=False), wanted, asset_class) is False


def test_what_each_interval_can_be_made_of():
    assert Interval.M1.bases == ()
    assert Interval.M15.bases == (Interval.M1, Interval.M5)
    assert Interval.W1.bases == (*Interval.D1.bases, Interval.D1)
    assert Interval.MO1.bases == Interval.W1.bases


def at(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).replace(tzinfo=UTC)


NOW = datetime(2024, 3, 29, 21, 17, tzinfo=UTC)


@pytest.mark.parametrize(
    ("interval", "start", "end", "until", "first", "last"),
    [
        ("1h", None, None, "2024-03-29T21:00", None, "2024-03-29T21:00"),
        ("1h", "2024-03-29T20:00", "2024-03-29T20:01", None, "2024-03-29T20:00", "2024-03-29T21:00"),
        ("1h", "2024-03-29T19:01", "2024-03-29T21:00", None, "2024-03-29T20:00", "2024-03-29T21:00"),
        ("1h", "2030-01-01", "2031-01-01", "2024-03-29T21:00", "2024-03-29T21:00", "2024-03-29T21:00"),
        ("1h", "0001-01-01", "9999-12-31T23:59", "2024-03-29T21:00", "0001-01-01", "2024-03-29T21:00"),
        ("1mo", "2024-01-02", "2024-02-02", None, "2024-02-01", "2024-03-01"),
        ("1w", None, "2024-03-25T00:01", "2024-03-25", None, "2024-03-25"),
        ("1w", None, "2024-03-25", None, None, "2024-03-25"),
    ],
)
def test_ranges_of_bases_are_whole_bars_that_are_over(interval, start, end, until, first, last):
    wanted = PriceRange(Interval(interval), at(start), at(end))
    assert cut_at(wanted, NOW) == at(until)
    assert whole(wanted, at(until)) == PriceRange(wanted.interval, at(first), at(last))
