"""What is final, what is asked next, and when."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_data.core.interval import Alignment, Basis, Interval
from market_data.core.spans import Span, subtract, union
from market_data.core.trading import open_calendar
from market_data.core.vocabulary import AssetClass
from market_data.etl.provider import ProviderSpec
from market_data.services.planning import (
    chunk_length,
    chunk_of,
    final_until,
    grown,
    next_look,
    wanted_span,
)

MINUTE = timedelta(minutes=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def spec(**more) -> ProviderSpec:
    return ProviderSpec(
        name="made",
        title="Made",
        covers="nothing",
        homepage="https://example.invalid",
        bases=dict.fromkeys(Interval, Basis.RAW),
        asset_classes=(AssetClass.EQUITY,),
        requests_per_minute=60,
        **more,
    )


@pytest.mark.parametrize(
    ("interval", "settled", "timezone", "final"),
    [
        ("1m", "2024-03-08T15:07:30", "UTC", "2024-03-08T15:07"),
        ("1m", "2024-03-08T15:07", "UTC", "2024-03-08T15:07"),
        ("4h", "2024-03-08T15:59:59", "UTC", "2024-03-08T12:00"),
        ("1d", "2024-03-08T15:07", "UTC", "2024-03-08"),
        # The clock in New York shows the 7th until 05:00Z in winter, until 04:00Z in summer.
        ("1d", "2024-03-08T04:59", "America/New_York", "2024-03-07"),
        ("1d", "2024-03-08T05:00", "America/New_York", "2024-03-08"),
        ("1d", "2024-03-12T03:59", "America/New_York", "2024-03-11"),
        ("1d", "2024-03-12T04:00", "America/New_York", "2024-03-12"),
        ("1d", "2024-03-07T15:00", "Asia/Tokyo", "2024-03-08"),
        ("1w", "2024-03-08T15:07", "UTC", "2024-03-04"),
        ("1mo", "2024-03-08T15:07", "UTC", "2024-03-01"),
    ],
)
def test_what_ended_is_final(interval, settled, timezone, final):
    assert final_until(Interval(interval), utc(settled), timezone) == utc(final)


@pytest.mark.parametrize(
    ("settled", "final"),
    [
        ("2024-03-08T15:29", "2024-03-08T14:30"),  # the hour from 14:30 is not over
        ("2024-03-08T15:30", "2024-03-08T14:45"),  # it is; one from 14:45 would not be
    ],
)
def test_bars_counted_from_the_open_are_final_by_their_own_end(settled, final):
    assert final_until(Interval.H1, utc(settled), alignment=Alignment.SESSION) == utc(final)


def test_nothing_is_wanted_beyond_what_the_provider_keeps():
    month = spec(history={Interval.M1: timedelta(days=30)})
    final = utc("2024-03-08T15:07")
    assert wanted_span(month, Interval.M1, utc("2020-01-01"), final) == Span(utc("2024-02-07T15:07"), final)
    assert wanted_span(month, Interval.D1, utc("2020-01-01"), utc("2024-03-08")) == Span(
        utc("2020-01-01"), utc("2024-03-08")
    )


def test_what_is_still_to_come_is_not_wanted():
    final = utc("2024-03-08T15:07")
    assert wanted_span(spec(), Interval.M1, utc("2024-03-09"), final) == Span(final, final)


@pytest.mark.parametrize(
    ("page", "interval", "length"),
    [
        (None, "1m", timedelta(minutes=50_000)),
        (1000, "1m", timedelta(minutes=50_000)),
        (300, "1m", timedelta(minutes=15_000)),
        (50_000, "1h", timedelta(hours=50_000)),
        (5000, "1d", timedelta(days=40_000)),
    ],
)
def test_a_chunk_is_some_pages(page, interval, length):
    assert chunk_length(spec(page_bars=page), Interval(interval)) == length


def test_the_newest_is_asked_first_and_month_by_month():
    """A provider's files are of months; so are long chunks."""
    wanted = Span(utc("2024-01-10"), utc("2024-03-08T15:07"))
    length = timedelta(minutes=50_000)
    known: list[Span] = []
    asked = []
    while chunk := chunk_of(subtract([wanted], known), known, length, Interval.M1, 0):
        asked.append(chunk)
        known = union(known, [chunk])
    assert asked == [
        Span(utc("2024-03-01"), utc("2024-03-08T15:07")),
        Span(utc("2024-02-01"), utc("2024-03-01")),
        Span(utc("2024-01-10"), utc("2024-02-01")),
    ]


def test_an_increment_looks_back_for_corrections():
    known = [Span(utc("2024-01-01"), utc("2024-03-08T15:00"))]
    wanted = Span(utc("2024-01-01"), utc("2024-03-08T15:07"))
    left = subtract([wanted], known)
    chunk = chunk_of(left, known, timedelta(days=5), Interval.M1, 5, wanted.start)
    assert chunk == Span(utc("2024-03-08T14:55"), utc("2024-03-08T15:07"))


def test_it_does_not_look_back_behind_what_is_wanted():
    known = [Span(utc("2024-01-01"), utc("2024-01-01T00:02"))]
    wanted = Span(utc("2024-01-01"), utc("2024-01-01T00:07"))
    chunk = chunk_of(subtract([wanted], known), known, timedelta(days=5), Interval.M1, 5, wanted.start)
    assert chunk == wanted


@given(
    st.integers(0, 400_000),
    st.integers(1, 400_000),
    st.integers(10, 60_000),
    st.lists(st.tuples(st.integers(0, 800_000), st.integers(1, 90_000)), max_size=4),
)
def test_chunks_cover_what_is_wanted_exactly_once(first, wanted_minutes, length, answered):
    """Whatever is known before, everything is asked for, nothing twice, and no chunk is too long."""
    zero = utc("2023-01-01")
    wanted = Span(zero + first * MINUTE, zero + (first + wanted_minutes) * MINUTE)
    before = union(Span(zero + a * MINUTE, zero + (a + n) * MINUTE) for a, n in answered)
    known, asked = list(before), []
    while chunk := chunk_of(subtract([wanted], known), known, length * MINUTE, Interval.M1, 0):
        asked.append(chunk)
        assert chunk.end - chunk.start <= max(length * MINUTE, timedelta(days=31))
        known = union(known, [chunk])
    assert sum((one.end - one.start for one in asked), timedelta()) == sum(
        (one.end - one.start for one in subtract([wanted], before)), timedelta()
    )
    assert [one.end for one in asked] == sorted((one.end for one in asked), reverse=True)


def test_emptiness_is_crossed_in_growing_steps():
    day = timedelta(days=1)
    empty = [Span(utc("2024-02-01"), utc("2024-02-05"))]
    assert grown(day, utc("2024-02-01"), empty) == 4 * day
    assert grown(day, utc("2024-01-31"), empty) == day
    assert grown(5 * day, utc("2024-02-01"), empty) == 5 * day


@pytest.mark.parametrize(
    ("interval", "now", "look"),
    [
        ("1m", "2024-07-03T15:00:10", "2024-07-03T15:01:10"),
        # A half day ends at 17:00Z, the 4th is a holiday, and Friday's first minute is over at 13:31.
        ("1m", "2024-07-03T17:00:10", "2024-07-05T13:31:10"),
        ("1d", "2024-07-03T16:00:00", "2024-07-03T17:00:10"),
        ("1d", "2024-07-03T17:00:10", "2024-07-05T20:00:10"),
    ],
)
def test_the_next_look_follows_the_exchange(interval, now, look):
    settling = timedelta(seconds=10)
    settled = utc(now) - settling
    final = final_until(Interval(interval), settled, "America/New_York")
    calendar = open_calendar("XNYS")
    found = next_look(
        Interval(interval), final, settled, settling, "America/New_York", Alignment.UTC, calendar
    )
    assert found == utc(look)


def test_without_a_calendar_the_clock_alone_tells():
    settled = utc("2024-07-03T15:00:00")
    final = final_until(Interval.M5, settled)
    assert next_look(Interval.M5, final, settled, MINUTE, "UTC", Alignment.UTC, None) == utc(
        "2024-07-03T15:06:00"
    )
    assert next_look(Interval.D1, utc("2024-07-03"), settled, MINUTE, "UTC", Alignment.UTC, None) == utc(
        "2024-07-04T00:01:00"
    )
    assert next_look(
        Interval.D1, utc("2024-07-03"), settled, MINUTE, "America/New_York", Alignment.UTC, None
    ) == utc("2024-07-04T04:01:00")
