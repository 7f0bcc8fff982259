# ruff: noqa: DTZ001 - NumPy stamps are naive, and UTC by definition here
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_data.core.bars import Bars
from market_data.core.interval import Alignment, Interval, parse_instant

MINUTES = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240, "1d": 1440}
INSTANTS = st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1))


def stamps(*texts):
    return np.array(texts, "datetime64[us]")


@pytest.mark.parametrize(
    ("spellings", "interval"),
    [
        ("1m 1min 1Min 1MIN 1minute minute m 1t 1T", Interval.M1),
        ("5m 5min 5Mins 5minutes", Interval.M5),
        ("15m 15min 15T", Interval.M15),
        ("30m 30min", Interval.M30),
        ("1h 1H 60m 60min hour hourly 1hr h", Interval.H1),
        ("4h 4H 240m 4hours", Interval.H4),
        ("1d 1D D d day daily Daily 1Day 24h 1440m", Interval.D1),
        ("1w 1W W weekly 1wk 1week 7d", Interval.W1),
        ("1mo 1MO 1mon 1month month monthly", Interval.MO1),
    ],
)
def test_every_common_spelling_is_understood(spellings, interval):
    assert {Interval.parse(spelling) for spelling in spellings.split()} == {interval}
    assert Interval.parse(f" {interval} ") is interval


@pytest.mark.parametrize("text", ["1M", "M", "5M", "1M "])
def test_a_capital_m_is_ambiguous(text):
    with pytest.raises(ValueError, match="ambiguous: write 1m for one minute or 1mo for one month"):
        Interval.parse(text)


@pytest.mark.parametrize(
    "text", ["", "60", "2m", "0m", "2mo", "1y", "tick", "-1m", "99999m", "1\u0665m", "\u0661m", "1.5h"]
)
def test_anything_else_is_refused_with_the_list(text):
    with pytest.raises(ValueError, match="use one of 1m, 5m, 15m, 30m, 1h, 4h, 1d, 1w, 1mo"):
        Interval.parse(text)


@pytest.mark.parametrize("interval", list(MINUTES))
@given(instant=INSTANTS)
def test_fixed_spans_floor_within_the_utc_day(interval, instant):
    since_midnight = timedelta(hours=instant.hour, minutes=instant.minute)
    step = timedelta(minutes=MINUTES[interval])
    start = datetime(instant.year, instant.month, instant.day) + since_midnight // step * step
    found = Interval(interval).floor(stamps(instant))
    assert found.dtype == np.dtype("datetime64[us]")
    assert found[0].item() == start
    assert Interval(interval).end(found)[0].item() == start + step
    assert Interval(interval).aligned(stamps(instant))[0] == (instant == start)


@given(instant=INSTANTS)
def test_weeks_start_on_mondays(instant):
    monday = instant.date() - timedelta(days=instant.weekday())
    start = datetime(monday.year, monday.month, monday.day)
    assert Interval.W1.floor(stamps(instant))[0].item() == start
    assert Interval.W1.end(stamps(start))[0].item() == start + timedelta(days=7)


@given(instant=INSTANTS)
def test_months_start_on_the_first(instant):
    start = datetime(instant.year, instant.month, 1)
    after = datetime(instant.year + instant.month // 12, instant.month % 12 + 1, 1)
    assert Interval.MO1.floor(stamps(instant))[0].item() == start
    assert Interval.MO1.end(stamps(start))[0].item() == after


def test_literal_edges():
    assert Interval.W1.floor(stamps("1969-12-31T23:59"))[0] == np.datetime64("1969-12-29")
    assert Interval.MO1.end(stamps("2024-02-01"))[0] == np.datetime64("2024-03-01")
    assert Interval.H4.floor(stamps("1969-12-31T23:59"))[0] == np.datetime64("1969-12-31T20:00")


@pytest.mark.parametrize("interval", list(Interval))
def test_nat_stays_nat_and_is_not_aligned(interval):
    assert np.isnat(interval.floor(stamps("NaT"))).all()
    assert not interval.aligned(stamps("NaT")).any()


def test_session_alignment_allows_quarter_hours_and_no_other():
    quarter, odd = stamps("2024-01-02T14:30", "2024-01-02T14:45"), stamps("2024-01-02T14:31")
    for interval in (Interval.M30, Interval.H1, Interval.H4):
        assert interval.aligned(quarter, Alignment.SESSION).all()
        assert not interval.aligned(odd, Alignment.SESSION).any()
    assert Interval.H1.aligned(quarter).tolist() == [False, False]
    assert Interval.M5.aligned(odd, Alignment.SESSION).tolist() == [False]
    assert not Interval.D1.aligned(quarter, Alignment.SESSION).any()


def test_durations():
    assert [i for i in Interval if i.is_intraday] == ["1m", "5m", "15m", "30m", "1h", "4h"]
    assert Interval.MO1.duration == timedelta(days=31)
    assert Interval.W1.duration == timedelta(days=7)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2024-01-02", datetime(2024, 1, 2, tzinfo=UTC)),
        (" 2024-01-02T09:30:00Z ", datetime(2024, 1, 2, 9, 30, tzinfo=UTC)),
        ("2024-01-02t09:30:00z", datetime(2024, 1, 2, 9, 30, tzinfo=UTC)),
        ("2024-01-02T09:30:00-05:00", datetime(2024, 1, 2, 14, 30, tzinfo=UTC)),
        ("2024-01-02 09:30:00.25+05:30", datetime(2024, 1, 2, 4, 0, 0, 250_000, tzinfo=UTC)),
    ],
)
def test_instants(text, instant):
    assert parse_instant(text) == instant
    assert parse_instant(text).tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2024-01-02T09:30:00", "has no offset"),
        ("yesterday", "is not a time"),
        ("2024-02-30", "is not a time"),
        ("2024-01-02T09:30:00 05:00", "%2B"),
        ("0001-01-01T00:00:00+14:00", "outside the years"),
        ("", "is not a time"),
    ],
)
def test_refused_instants(text, message):
    with pytest.raises(ValueError, match=message):
        parse_instant(text)


@given(day=st.dates(date(1, 1, 1), date(9999, 12, 31)))
def test_every_date_is_its_midnight(day):
    assert parse_instant(day.isoformat()) == datetime(day.year, day.month, day.day, tzinfo=UTC)


def test_bars_are_taken_and_joined_by_column():
    one = Bars(stamps("2024-01-02", "2024-01-03"), *(np.array([n, n + 1.0]) for n in (1.0, 2, 3, 4, 5)))
    both = Bars.concat([one, one.take(np.array([True, False]))])
    assert len(both) == 3
    assert both.close.tolist() == [4, 5, 4]
    assert both.take(slice(2, 3)).ts.tolist() == [datetime(2024, 1, 2)]
    assert both.take(np.array([1, 0], np.intp)).volume.tolist() == [6, 5]
    assert len(Bars.concat([])) == 0
    assert Bars.empty().ts.dtype == np.dtype("datetime64[us]")
