import math
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data.core.exceptions import InvalidInput
from market_data.core.interval import Alignment, Interval
from market_data.etl.raw import RawBars
from market_data.etl.transformers.normalise import normalise
from market_data.etl.transformers.rejection import KEPT, TEXT_BYTES, Faults, Rejections, cut
from market_data.etl.transformers.rules import Label, Rules, Unfinished

NOW = datetime(2024, 6, 15, 12, 0, tzinfo=UTC)
NAN, INF = math.nan, math.inf


def raw(*rows, running=(), unreadable=()):
    """Rows of (ts, open, high, low, close, volume); a missing tail is a plain good bar."""
    full = [(*row, *(10.0, 12.0, 9.0, 11.0, 100.0)[len(row) - 1 :]) for row in rows]
    stamp, *values = zip(*full, strict=True) if full else [()] * 6
    return RawBars(
        np.array(stamp, "datetime64[us]"),
        *(np.array(column, "float64") for column in values),
        text=lambda i: f"row {i}",
        running=np.array([i in running for i in range(len(full))], bool),
        unreadable=np.array([i in unreadable for i in range(len(full))], bool),
    )


def rules(interval="1m", **options):
    return Rules(interval=Interval(interval), now=NOW, **options)


def starts(result):
    return [f"{stamp:%Y-%m-%d %H:%M}" for stamp in result.bars.ts.tolist()]


def only_rejection(result):
    assert len(result.bars) == 0
    (rejection,) = result.rejections.kept
    return rejection


def test_good_rows_come_back_sorted():
    result = normalise(
        raw(("2024-01-02T00:01", 1, 3, 1, 2, NAN), ("2024-01-02T00:00", 5, 6, 4, 5, 0)), rules()
    )
    assert starts(result) == ["2024-01-02 00:00", "2024-01-02 00:01"]
    assert result.bars.open.tolist() == [5, 1]
    assert result.bars.high.tolist() == [6, 3]
    assert result.bars.low.tolist() == [4, 1]
    assert result.bars.close.tolist() == [5, 2]
    assert result.bars.volume[0] == 0
    assert math.isnan(result.bars.volume[1])
    assert (result.rejections.total, result.unfinished, result.duplicates, result.out_of_range) == (
        0,
        0,
        0,
        0,
    )


def test_nothing_gives_nothing():
    assert len(normalise(raw(), rules()).bars) == 0


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        (("2024-01-02", NAN, 2, NAN, 1), "missing_value", "Absent: open, low."),
        (("2024-01-02", 1, INF, 1, 1), "not_finite", "Not finite: high."),
        (("2024-01-02", 1, -INF, INF, 1), "not_finite", "Not finite: high, low."),
        (("2024-01-02", 1, 2, 1, 1, INF), "not_finite", "Not finite: volume."),
        (("2024-01-02", 1, 1, 2, 1), "high_below_low", "The high 1.0 is below the low 2.0."),
        (("2024-01-02", 5, 3, 2, 2), "open_outside_range", "The open 5.0 lies outside low 2.0 to high 3.0."),
        (("2024-01-02", 1, 3, 2, 2), "open_outside_range", "The open 1.0 lies outside low 2.0 to high 3.0."),
        (
            ("2024-01-02", 2, 3, 2, 3.5),
            "close_outside_range",
            "The close 3.5 lies outside low 2.0 to high 3.0.",
        ),
        (
            ("2024-01-02", 2, 3, 2, 1),
            "close_outside_range",
            "The close 1.0 lies outside low 2.0 to high 3.0.",
        ),
        (
            ("2024-01-02", 1, 1, 0, 1),
            "not_positive",
            "The low 0.0 is not positive; only rates and futures may be.",
        ),
        (("2024-01-02", 1, 1, -0.0, 1), "not_positive", "The low -0.0 is not positive"),
        (("2024-01-02", 1, 1, 1, 1, -1), "negative_volume", "The volume -1.0 is negative."),
        (("NaT",), "missing_value", "The time (ts) is absent."),
        (("1677-12-31",), "out_of_years", "1678 to 2261"),
        (("9999-12-31",), "out_of_years", "9999-12-31"),
        (("0001-01-01",), "out_of_years", "0001-01-01"),
    ],
)
def test_each_rule_has_its_reason(row, reason, detail):
    rejection = only_rejection(normalise(raw(row), rules()))
    assert rejection.reason == reason
    assert detail in rejection.detail
    assert rejection.text == "row 0"


def test_the_bar_start_is_kept_with_the_rejection():
    bad = normalise(raw(("2024-01-02T00:05", 1, 1, 2, 1)), rules(label=Label.END))
    assert only_rejection(bad).ts == datetime(2024, 1, 2, 0, 4, tzinfo=UTC)
    assert only_rejection(normalise(raw(("NaT",)), rules())).ts is None


def test_an_unreadable_cell_is_told_from_an_absent_one():
    value = only_rejection(normalise(raw(("2024-01-02", NAN), unreadable={0}), rules()))
    assert (value.reason, value.detail) == ("unreadable", "A value is present but is no number.")
    time = only_rejection(normalise(raw(("NaT",), unreadable={0}), rules()))
    assert (time.reason, time.detail) == ("unreadable", "The time cannot be read.")


def test_rates_and_futures_may_have_any_sign():
    row = ("2024-01-02", -1, 0, -2, -0.5)
    assert len(normalise(raw(row), rules(any_sign=True)).bars) == 1
    assert only_rejection(normalise(raw(row), rules())).reason == "not_positive"


def test_extreme_but_valid_numbers_survive():
    tiny = 5e-324
    result = normalise(raw(("2024-01-02", tiny, 1.7e308, tiny, tiny, 1e18)), rules())
    assert result.bars.low.tolist() == [tiny]
    assert result.bars.volume.tolist() == [1e18]


@pytest.mark.parametrize(
    ("interval", "stamp", "alignment", "detail"),
    [
        (
            "1m",
            "2024-01-02T00:00:30",
            Alignment.UTC,
            "2024-01-02T00:00:00.000000Z or 2024-01-02T00:01:00.000000Z",
        ),
        ("1h", "2024-01-02T14:30", Alignment.UTC, "alignment session"),
        ("4h", "2024-01-02T14:31", Alignment.SESSION, "2024-01-02T12:00:00.000000Z or 2024-01-02T16:00:00"),
    ],
)
def test_misaligned_bars_are_told_the_nearest_starts(interval, stamp, alignment, detail):
    rejection = only_rejection(normalise(raw((stamp,)), rules(interval, alignment=alignment)))
    assert rejection.reason == "misaligned"
    assert detail in rejection.detail
    assert ("session)" in rejection.detail) == (detail == "alignment session")


def test_session_alignment_takes_half_past():
    assert len(normalise(raw(("2024-01-02T14:30",)), rules("1h", alignment=Alignment.SESSION)).bars) == 1


# Labels


@pytest.mark.parametrize(
    ("interval", "zone", "wall_clock", "label", "stamp", "start"),
    [
        # Yahoo: the session's open as an instant; the date is New York's.
        ("1d", "America/New_York", False, "start", "2024-01-02T14:30", "2024-01-02 00:00"),
        ("1d", "Asia/Tokyo", False, "start", "2024-01-01T15:00", "2024-01-02 00:00"),
        ("1d", "America/New_York", True, "start", "2024-01-02T00:00", "2024-01-02 00:00"),
        # Midnight of that day was skipped in São Paulo, and the date is the date all the same.
        ("1d", "America/Sao_Paulo", True, "start", "2018-11-04T00:00", "2018-11-04 00:00"),
        ("1w", "America/New_York", False, "start", "2024-01-04T14:30", "2024-01-01 00:00"),
        ("1mo", "America/New_York", False, "start", "2024-02-01T03:00", "2024-01-01 00:00"),
        ("1d", "UTC", False, "end", "2024-01-03T00:00", "2024-01-02 00:00"),
        ("1d", "UTC", False, "end", "2024-01-02T16:00", "2024-01-02 00:00"),
        ("1d", "America/New_York", False, "end", "2024-01-03T05:00", "2024-01-02 00:00"),
        ("1w", "UTC", False, "end", "2024-01-05T00:00", "2024-01-01 00:00"),
        ("1w", "UTC", False, "end", "2024-01-08T00:00", "2024-01-01 00:00"),
        ("1mo", "UTC", False, "end", "2024-02-29T00:00", "2024-02-01 00:00"),
        ("1mo", "UTC", False, "end", "2024-03-01T00:00", "2024-02-01 00:00"),
        ("5m", "UTC", False, "end", "2024-01-02T00:05", "2024-01-02 00:00"),
        ("1m", "America/New_York", True, "start", "2024-01-02T09:30", "2024-01-02 14:30"),
        ("1m", "America/New_York", True, "start", "2024-07-02T09:30", "2024-07-02 13:30"),
    ],
)
def test_labels(interval, zone, wall_clock, label, stamp, start):
    options = {"timezone": zone, "wall_clock": wall_clock, "label": Label(label)}
    now = datetime(2025, 1, 1, tzinfo=UTC)
    result = normalise(raw((stamp,)), Rules(interval=Interval(interval), now=now, **options))
    assert starts(result) == [start]


def test_without_snapping_a_daily_bar_must_say_its_start():
    exact = rules("1d", snap=False, unfinished=Unfinished.REJECT)
    assert starts(normalise(raw(("2024-01-02",)), exact)) == ["2024-01-02 00:00"]
    assert only_rejection(normalise(raw(("2024-01-02T14:30",)), exact)).reason == "misaligned"
    ends = rules("1mo", snap=False, label=Label.END)
    assert starts(normalise(raw(("2024-03-01",)), ends)) == ["2024-02-01 00:00"]
    assert only_rejection(normalise(raw(("2024-03-02",)), ends)).reason == "misaligned"


@pytest.mark.parametrize(
    ("stamp", "reason", "word"),
    [
        ("2024-03-10T02:30", "nonexistent_time", "never shown"),
        ("2023-11-05T01:30", "ambiguous_time", "shown twice"),
    ],
)
def test_clock_changes_are_not_guessed(stamp, reason, word):
    rejection = only_rejection(normalise(raw((stamp,)), rules(timezone="America/New_York", wall_clock=True)))
    assert rejection.reason == reason
    assert word in rejection.detail
    assert "America/New_York" in rejection.detail


def test_a_label_at_the_edge_of_years_does_not_wrap():
    assert only_rejection(normalise(raw(("1678-01-01",)), rules(label=Label.END))).reason == "out_of_years"


def test_an_unknown_zone_is_an_error_of_the_caller():
    with pytest.raises(InvalidInput, match="timezone"):
        normalise(raw(("2024-01-02",)), rules(timezone="Mars/Base", wall_clock=True))


# Now


@pytest.mark.parametrize(
    ("interval", "zone", "stamp", "now", "outcome"),
    [
        ("1m", "UTC", "2024-06-15T11:59", "2024-06-15T12:00", "bar"),
        ("1m", "UTC", "2024-06-15T12:00", "2024-06-15T12:00:30", "unfinished"),
        ("1m", "UTC", "2024-06-15T12:05", "2024-06-15T12:00", "unfinished"),
        ("1m", "UTC", "2024-06-15T12:06", "2024-06-15T12:00", "future"),
        ("1d", "America/New_York", "2024-06-14T13:30", "2024-06-15T03:59", "unfinished"),
        ("1d", "America/New_York", "2024-06-14T13:30", "2024-06-15T04:00", "bar"),
        ("1d", "America/New_York", "2024-03-10T13:30", "2024-03-11T03:59", "unfinished"),
        ("1d", "America/New_York", "2024-03-10T13:30", "2024-03-11T04:00", "bar"),
        ("1d", "America/New_York", "2024-11-03T14:30", "2024-11-04T04:59", "unfinished"),
        ("1d", "America/New_York", "2024-11-03T14:30", "2024-11-04T05:00", "bar"),
        ("1d", "Asia/Tokyo", "2024-06-15T15:00", "2024-06-15T15:00", "unfinished"),
        ("1d", "Asia/Tokyo", "2024-06-15T15:00", "2024-06-15T14:54", "future"),
        ("1w", "UTC", "2024-06-10T00:00", "2024-06-16T23:59", "unfinished"),
        ("1w", "UTC", "2024-06-10T00:00", "2024-06-17T00:00", "bar"),
        ("1mo", "Europe/London", "2024-05-31T23:00", "2024-06-30T22:59", "unfinished"),
        ("1mo", "Europe/London", "2024-05-31T23:00", "2024-06-30T23:00", "bar"),
    ],
)
def test_sources_count_what_is_not_over(interval, zone, stamp, now, outcome):
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    result = normalise(raw((stamp,)), Rules(interval=Interval(interval), now=moment, timezone=zone))
    found = (
        "bar" if len(result.bars) else "unfinished" if result.unfinished else only_rejection(result).reason
    )
    assert found == outcome


@pytest.mark.parametrize(
    ("interval", "stamp", "outcome"),
    [
        ("1m", "2024-06-15T12:04", "bar"),
        ("1m", "2024-06-15T12:05", "future"),
        ("1h", "2024-06-15T12:00", "future"),
        ("1d", "2024-06-15", "future"),
        ("1d", "2024-06-14", "bar"),
    ],
)
def test_bodies_may_end_five_minutes_ahead_and_no_more(interval, stamp, outcome):
    result = normalise(raw((stamp,)), rules(interval, snap=False, unfinished=Unfinished.REJECT))
    assert ("bar" if len(result.bars) else only_rejection(result).reason) == outcome
    assert result.unfinished == 0


@pytest.mark.parametrize("unfinished", list(Unfinished))
def test_rows_the_vendor_calls_running_are_unfinished_whatever_they_hold(unfinished):
    rows = raw(("2024-01-02", NAN, NAN, NAN, NAN), ("2024-01-01",), running={0})
    result = normalise(rows, rules("1d", unfinished=unfinished))
    assert (result.unfinished, len(result.bars), result.rejections.total) == (1, 1, 0)


def test_a_running_bar_of_the_future_is_refused():
    far = raw(("2024-06-20",), running={0})
    assert only_rejection(normalise(far, rules("1d"))).reason == "future"
    assert "now (2024-06-15T12:00:00.000000Z)" in only_rejection(normalise(far, rules("1d"))).detail


def test_a_running_row_off_the_grid_is_unfinished_not_misaligned():
    result = normalise(raw(("2024-06-15T11:59:37",)), rules())
    assert (result.unfinished, result.rejections.total) == (1, 0)


# Range


def test_rows_outside_the_range_vanish_after_labelling():
    rows = raw(*((f"2024-01-02T00:0{minute}",) for minute in range(5)), ("2024-01-02T00:09", NAN))
    span = {"start": datetime(2024, 1, 2, 0, 1, tzinfo=UTC), "end": datetime(2024, 1, 2, 0, 3, tzinfo=UTC)}
    result = normalise(rows, rules(**span))
    assert starts(result) == ["2024-01-02 00:01", "2024-01-02 00:02"]
    assert (result.out_of_range, result.rejections.total) == (4, 0)
    assert starts(normalise(rows, rules(label=Label.END, **span))) == ["2024-01-02 00:01", "2024-01-02 00:02"]


# Duplicates


def test_the_last_of_equal_starts_wins():
    rows = raw(
        ("2024-01-02T00:01", 1, 2, 1, 2, 7),
        ("2024-01-02T00:00", 1, 2, 1, 2, NAN),
        ("2024-01-02T00:01", 1, 2, 1, 1.5, NAN),
        ("2024-01-02T00:00", 1, 2, 1, 2, NAN),
        ("2024-01-02T00:01", 1, 2, 1, 1.5, NAN),
        ("2024-01-02T00:01", 1, 2, 1, NAN, NAN),
    )
    result = normalise(rows, rules())
    assert starts(result) == ["2024-01-02 00:00", "2024-01-02 00:01"]
    assert result.bars.close.tolist() == [2, 1.5]
    assert result.duplicates == 2
    assert result.rejections.counts == {"conflicting_duplicate": 1, "missing_value": 1}
    conflict = result.rejections.kept[0]
    assert conflict.text == "row 0"
    assert "close 2.0 became 1.5, volume 7.0 became nan" in conflict.detail
    assert conflict.ts == datetime(2024, 1, 2, 0, 1, tzinfo=UTC)


def test_daily_labels_of_one_date_are_duplicates():
    rows = raw(("2024-01-02T14:30", 1, 2, 1, 2), ("2024-01-02T21:00", 1, 2, 1, 1.5))
    result = normalise(rows, rules("1d", timezone="America/New_York"))
    assert result.bars.close.tolist() == [1.5]
    assert result.rejections.counts == {"conflicting_duplicate": 1}


# Properties

PRICE = st.one_of(
    st.sampled_from([0.0, -0.0, NAN, INF, -INF, -1.0, 5e-324, 1e300]), st.integers(1, 5).map(float)
)
STAMP = st.one_of(
    st.just(np.datetime64("NaT")),
    st.integers(0, 8).map(lambda i: np.datetime64("2024-06-15T11:56") + np.timedelta64(i * 30, "s")),
    st.integers(-(2**63) + 1, 2**63 - 1).map(lambda i: np.datetime64(i, "us")),
)
ROWS = st.lists(st.tuples(STAMP, PRICE, PRICE, PRICE, PRICE, PRICE), max_size=30)


@settings(max_examples=300)
@given(
    rows=ROWS,
    interval=st.sampled_from(Interval),
    zone=st.sampled_from(["UTC", "America/New_York", "Asia/Kolkata"]),
    wall=st.booleans(),
    label=st.sampled_from(Label),
    unfinished=st.sampled_from(Unfinished),
    snap=st.booleans(),
    span=st.booleans(),
    marks=st.integers(0, 2**30),
)
def test_every_row_ends_in_exactly_one_place(
    rows, interval, zone, wall, label, unfinished, snap, span, marks
):
    flagged = {i for i in range(30) if marks >> i & 1 and i % 3}
    table = raw(*rows, running={i for i in flagged if i % 2}, unreadable={i for i in flagged if not i % 2})
    cut_at = {"start": NOW - timedelta(minutes=3), "end": NOW - timedelta(minutes=1)} if span else {}
    options = {"timezone": zone, "wall_clock": wall, "label": label, "unfinished": unfinished, "snap": snap}
    result = normalise(table, rules(interval, **options, **cut_at))
    counted = len(result.bars) + result.unfinished + result.rejections.total
    assert counted + result.duplicates + result.out_of_range == len(rows)
    assert len(result.rejections.kept) == result.rejections.total
    assert Counter(r.reason for r in result.rejections.kept) == result.rejections.counts
    bars = result.bars
    for ts, o, h, lo, c, v in zip(*(column.tolist() for column in bars.columns()), strict=True):
        assert 0 < lo <= min(o, c) <= max(o, c) <= h < INF
        assert math.isnan(v) or 0 <= v < INF
        assert 1678 <= ts.year <= 2261
    assert (bars.ts[1:] > bars.ts[:-1]).all()
    assert interval.aligned(bars.ts).all()


@given(values=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 2), st.integers(0, 1)), max_size=20))
def test_dedupe_is_what_a_dictionary_does(values):
    rows = [(f"2024-01-02T00:0{minute}", 1, 2, 1, close, volume) for minute, close, volume in values]
    last = {minute: (close, volume) for minute, close, volume in values}
    same = sum(last[minute] == (close, volume) for minute, close, volume in values) - len(last)
    result = normalise(raw(*rows), rules())
    got = zip(result.bars.ts.tolist(), result.bars.close.tolist(), result.bars.volume.tolist(), strict=True)
    assert [(ts.minute, (close, volume)) for ts, close, volume in got] == sorted(last.items())
    assert result.duplicates == same
    assert result.rejections.total == len(values) - len(last) - same


# Rejections


def test_texts_are_built_for_kept_rows_only():
    faults, built = Faults(KEPT + 5), []
    faults.add(np.ones(KEPT + 5, bool), "bad", lambda i: f"detail {i}")
    faults.add(np.ones(KEPT + 5, bool), "never", str)
    found = Rejections()
    found.add("first", "it came first", "text")
    found.add_all(faults, lambda i: built.append(i) or "text")
    assert (found.total, len(found.kept), len(built)) == (KEPT + 6, KEPT, KEPT - 1)
    assert found.counts == {"first": 1, "bad": KEPT + 5}
    assert found.kept[1].detail == "detail 0"
    found.add("late", "not kept")
    found.extend(found)
    assert (found.total, len(found.kept)) == (2 * (KEPT + 7), KEPT)


def test_collections_are_joined_in_order():
    one, two = Rejections(), Rejections()
    one.add("a", "x")
    two.add("b", "y")
    one.extend(two)
    assert [(r.reason, r.detail) for r in one.kept] == [("a", "x"), ("b", "y")]


@pytest.mark.parametrize("text", ["é" * 5000, "x" * 5000, "a\x00b", "\ud800", "€" * 2000, "x€" * 2000])
def test_texts_are_cut_to_bytes_that_can_be_stored(text):
    encoded = cut(text).encode()
    assert len(encoded) <= TEXT_BYTES
    assert b"\x00" not in encoded
    assert len(encoded) > TEXT_BYTES - 4 or len(text) < 5
