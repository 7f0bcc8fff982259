"""What each stretch of a window is, from bars, answers and a calendar."""

from datetime import UTC, datetime

from market_data.core.interval import Alignment, Interval
from market_data.core.spans import Span
from market_data.core.trading import open_calendar
from market_data.core.vocabulary import CoverageState
from market_data.services.coverage import Evidence, Stretch, classify


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def span(start: str, end: str) -> Span:
    return Span(utc(start), utc(end))


def states(known: Evidence, interval: Interval, calendar: str) -> list[tuple[str, str, str, int]]:
    found = classify(known, interval, open_calendar(calendar), Alignment.UTC)
    return [(str(s.state), f"{s.start:%m-%d %H:%M}", f"{s.end:%m-%d %H:%M}", s.bars) for s in found]


def test_months_are_counted_as_months():
    known = Evidence(
        window=span("2024-01-01", "2024-07-01"),
        breaks=[span("2024-03-01", "2024-05-01")],
        answered=[span("2024-01-01", "2024-07-01")],
        no_trade=[],
        failed=[],
    )
    assert states(known, Interval.MO1, "24/7") == [
        ("present", "01-01 00:00", "03-01 00:00", 2),
        ("missing", "03-01 00:00", "05-01 00:00", 2),
        ("present", "05-01 00:00", "07-01 00:00", 2),
    ]


def test_nights_divide_nothing_and_every_word_of_the_source_counts():
    """Two days of hours in New York; of the second two hours are empty, one failed, and one is lost."""
    known = Evidence(
        window=span("2024-01-02T14:00", "2024-01-03T21:00"),
        breaks=[
            span("2024-01-02T21:00", "2024-01-03T14:00"),
            span("2024-01-03T15:00", "2024-01-03T17:00"),
            span("2024-01-03T18:00", "2024-01-03T20:00"),
        ],
        answered=[span("2024-01-02T14:00", "2024-01-03T18:00"), span("2024-01-03T19:00", "2024-01-03T21:00")],
        no_trade=[span("2024-01-02T21:00", "2024-01-03T14:00"), span("2024-01-03T15:00", "2024-01-03T17:00")],
        failed=[span("2024-01-03T18:00", "2024-01-03T19:00")],
    )
    assert states(known, Interval.H1, "XNYS") == [
        ("present", "01-02 14:00", "01-03 15:00", 8),
        ("no_trade", "01-03 15:00", "01-03 17:00", 2),
        ("present", "01-03 17:00", "01-03 18:00", 1),
        ("failed", "01-03 18:00", "01-03 19:00", 1),
        ("missing", "01-03 19:00", "01-03 20:00", 1),
        ("present", "01-03 20:00", "01-03 21:00", 1),
    ]


def test_what_nobody_asked_for_is_missing_where_trading_was():
    """From Friday's last hour into Monday: one stretch, and its bars are those of sessions."""
    whole = span("2024-01-05T14:00", "2024-01-08T21:00")
    known = Evidence(
        window=whole,
        breaks=[span("2024-01-05T20:00", "2024-01-08T20:00")],
        answered=[],
        no_trade=[],
        failed=[],
    )
    found = classify(known, Interval.H1, open_calendar("XNYS"), Alignment.UTC)
    assert found[1] == Stretch(CoverageState.MISSING, utc("2024-01-05T20:00"), utc("2024-01-08T20:00"), 1 + 6)
