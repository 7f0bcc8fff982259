"""Arithmetic of spans, held against sets of minutes."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from market_data.core.interval import Interval
from market_data.core.spans import Span, empty_spans, intersect, runs_of, subtract, union

ZERO = datetime(2024, 1, 1, tzinfo=UTC)


def at(minute: int) -> datetime:
    return ZERO + timedelta(minutes=minute)


def span(start: int, end: int) -> Span:
    return Span(at(start), at(end))


def minutes(spans: list[Span]) -> set[int]:
    minute = timedelta(minutes=1)
    return {one for start, end in spans for one in range((start - ZERO) // minute, (end - ZERO) // minute)}


some = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 12)).map(lambda one: span(one[0], sum(one))), max_size=8
)


def well_formed(spans: list[Span]) -> bool:
    """Ascending, disjoint, none empty, none that touch."""
    return all(one.start < one.end for one in spans) and all(
        one.end < after.start for one, after in pairwise(spans)
    )


@given(some, some)
def test_union_is_what_any_covers(one, other):
    found = union(one, other)
    assert minutes(found) == minutes(one) | minutes(other)
    assert well_formed(found)


@given(some, some)
def test_subtract_is_what_is_left(one, other):
    found = subtract(one, other)
    assert minutes(found) == minutes(one) - minutes(other)
    assert all(a.end <= b.start for a, b in pairwise(found))


@given(some, some)
def test_intersect_is_what_both_cover(one, other):
    assert minutes(intersect(one, other)) == minutes(one) & minutes(other)


@given(st.sets(st.integers(0, 59)), st.integers(0, 59), st.integers(0, 30))
def test_a_span_is_bars_and_emptiness(starts, first, length):
    ts = np.array(sorted(at(one).replace(tzinfo=None) for one in starts), "datetime64[us]")
    asked = span(first, first + length)
    inside = {one for one in starts if first <= one < first + length}
    assert minutes(empty_spans(ts, Interval.M1, asked)) == set(range(first, first + length)) - inside
    assert minutes(runs_of(ts, Interval.M1)) == starts


def test_a_bar_reaches_to_its_end_whatever_the_grid():
    """An hour that starts at half past is no emptiness until half past the next."""
    ts = np.array(["2024-01-02T14:30", "2024-01-02T15:30", "2024-01-02T20:30"], "datetime64[us]")
    asked = Span(datetime(2024, 1, 2, 14, 30, tzinfo=UTC), datetime(2024, 1, 2, 22, tzinfo=UTC))
    assert empty_spans(ts, Interval.H1, asked) == [
        Span(datetime(2024, 1, 2, 16, 30, tzinfo=UTC), datetime(2024, 1, 2, 20, 30, tzinfo=UTC)),
        Span(datetime(2024, 1, 2, 21, 30, tzinfo=UTC), datetime(2024, 1, 2, 22, tzinfo=UTC)),
    ]


def test_months_end_with_their_own_last_day():
    ts = np.array(["2024-01-01", "2024-03-01"], "datetime64[us]")
    asked = Span(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC))
    assert empty_spans(ts, Interval.MO1, asked) == [
        Span(datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC))
    ]
