"""Expected values are facts of venues or counted by hand, written out here, never asked of the library."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data.core.exceptions import InvalidInput
from market_data.core.interval import Alignment, Interval
from market_data.core.trading import Override, calendar_name, known_calendars, names, open_calendar
from market_data.core.trading import calendar as calendar_module
from market_data.core.trading.bars import rows_of
from market_data.core.trading.sessions import Sessions
from market_data.core.vocabulary import AssetClass
from tests.support.shared_data import needs_shared_data, read

SESSION = Alignment.SESSION
INTRADAY = [one for one in Interval if one.is_intraday]
STEPS = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240}
SOME = ["24/7", "24/5", "weekdays", "XNYS", "XTKS", "CMES"]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def bars(name, interval, start, end, alignment=Alignment.UTC, overrides=()) -> list[str]:
    """The starts one expects, to the minute; every answer is counted as well."""
    calendar = open_calendar(name, overrides)
    found = calendar.expected(interval, at(start), at(end), alignment)
    assert found.dtype == np.dtype("datetime64[us]")
    assert calendar.count(interval, at(start), at(end), alignment) == len(found)
    return [str(one)[:16] for one in found]


def days(name, start, end, overrides=()) -> list[str]:
    return [one.removesuffix("T00:00") for one in bars(name, Interval.D1, start, end, overrides=overrides)]


def minutes(name, start, end, overrides=()) -> tuple[int, str, str]:
    found = bars(name, Interval.M1, start, end, overrides=overrides)
    return len(found), found[0], found[-1]


# Which calendar


@pytest.mark.parametrize(
    ("exchange", "asset_class", "name"),
    [
        ("XNAS", "equity", "XNYS"),
        ("XNYS", "equity", "XNYS"),
        ("ARCX", "etf", "XNYS"),
        ("BATS", "etf", "XNYS"),
        ("IEXG", "equity", "XNYS"),
        ("XASE", "equity", "XNYS"),
        ("xnas", "index", "XNYS"),
        ("NASDAQ", "equity", "XNYS"),
        ("XTKS", "equity", "XTKS"),
        ("XSHE", "equity", "XSHG"),
        ("AIMX", "equity", "XLON"),
        ("XCME", "future", "CMES"),
        ("XNAS", "fund", "XNYS"),
        ("ECB", "rate", "weekdays"),
        ("NOWHERE", "equity", "weekdays"),
        ("FX", "fx", "24/5"),
        ("XNYS", "fx", "24/5"),
        ("BINANCE", "crypto", "24/7"),
        ("XNYS", "crypto", "24/7"),
    ],
)
def test_which_calendar_an_instrument_follows(exchange, asset_class, name):
    assert calendar_name(exchange, AssetClass(asset_class)) == name


def test_names_are_those_of_the_library():
    from exchange_calendars import calendar_utils

    theirs = set(calendar_utils.get_calendar_names(include_aliases=False))
    assert {*names.EXCHANGES, "24/7", "24/5"} == theirs
    assert known_calendars() == sorted({*theirs, "weekdays"})
    for alias, name in calendar_utils.aliases_to_names().items():
        assert calendar_name(alias, AssetClass.EQUITY) == name
    assert set(names._FOLLOWED.values()) <= names.EXCHANGES
    venues = [venue for group in names._FOLLOWERS.values() for venue in group.split()]
    assert len(venues) == len(set(venues))
    assert not names.EXCHANGES & set(venues)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("XNYC", "'XNYC'; did you mean XNYS"),
        ("XNAS", "'XNAS'; did you mean XNYS?"),
        ("xlon", "did you mean XLON?"),
        ("24/6", "did you mean 24/7 or 24/5?"),
        ("?", "known are 24/5, 24/7, AIXK, "),
        ("", "known are"),
    ],
)
def test_an_unknown_calendar_is_refused_with_what_may_be_meant(name, hint):
    with pytest.raises(InvalidInput) as refused:
        open_calendar(name)
    assert refused.value.field == "calendar"
    assert hint in refused.value.message


def test_pandas_is_loaded_for_exchanges_only():
    code = """
import sys
from datetime import UTC, datetime
from market_data.core.interval import Interval
from market_data.core.trading import calendar_name, known_calendars, open_calendar
from market_data.core.vocabulary import AssetClass
known_calendars(), calendar_name("XNAS", AssetClass.EQUITY)
for name in ("24/7", "24/5", "weekdays"):
    open_calendar(name).count(Interval.H1, datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC))
assert not {"pandas", "exchange_calendars"} & set(sys.modules)
open_calendar("XNYS")
assert "pandas" in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


# New York


def test_new_york_rests_on_its_holidays():
    assert days("XNYS", "2024-07-01", "2024-07-08") == [
        "2024-07-01",
        "2024-07-02",
        "2024-07-03",
        "2024-07-05",
    ]
    assert days("XNYS", "2012-10-26", "2012-11-01") == ["2012-10-26", "2012-10-31"]  # Sandy
    assert days("XNYS", "2025-01-08", "2025-01-11") == ["2025-01-08", "2025-01-10"]  # President Carter
    assert days("XNYS", "2001-09-10", "2001-09-18") == ["2001-09-10", "2001-09-17"]
    assert len(days("XNYS", "2024-01-01", "2025-01-01")) == 252
    assert len(days("XNYS", "1990-01-01", "1991-01-01")) == 253


@pytest.mark.parametrize(
    ("day", "count", "first", "last"),
    [
        ("2024-07-02", 390, "13:30", "19:59"),
        ("2024-01-03", 390, "14:30", "20:59"),
        ("2024-07-03", 210, "13:30", "16:59"),
        ("2024-11-29", 210, "14:30", "17:59"),
        ("2024-03-08", 390, "14:30", "20:59"),  # the last day of winter time
        ("2024-03-11", 390, "13:30", "19:59"),
        ("2024-11-01", 390, "13:30", "19:59"),
        ("2024-11-04", 390, "14:30", "20:59"),
    ],
)
def test_new_york_minutes(day, count, first, last):
    until = str(date.fromisoformat(day) + timedelta(days=1))
    assert minutes("XNYS", day, until) == (count, f"{day}T{first}", f"{day}T{last}")


def test_every_day_around_a_change_of_clocks_has_390_minutes():
    for start, end in (("2024-03-04", "2024-03-16"), ("2024-10-28", "2024-11-09")):
        for day in days("XNYS", start, end):
            assert minutes("XNYS", day, str(date.fromisoformat(day) + timedelta(days=1)))[0] == 390


def test_a_year_of_new_york_minutes():
    """252 sessions; of 390 minutes, but 210 before 4 July, after Thanksgiving and before Christmas."""
    calendar = open_calendar("XNYS")
    assert calendar.count(Interval.M1, at("2024-01-01"), at("2025-01-01")) == 249 * 390 + 3 * 210


def test_bars_of_new_york_lie_on_the_grid_that_is_asked_for():
    half, whole = ("2024-07-03", "2024-07-04"), ("2024-07-02", "2024-07-03")
    utc = [f"2024-07-02T{hour}:00" for hour in (13, 14, 15, 16, 17, 18, 19)]
    assert bars("XNYS", Interval.H1, *whole) == utc
    assert bars("XNYS", Interval.H1, *whole, SESSION) == [one.replace(":00", ":30") for one in utc]
    assert bars("XNYS", Interval.H4, *whole) == ["2024-07-02T12:00", "2024-07-02T16:00"]
    assert bars("XNYS", Interval.H4, *whole, SESSION) == ["2024-07-02T13:30", "2024-07-02T17:30"]
    assert bars("XNYS", Interval.H4, *half, SESSION) == ["2024-07-03T13:30"]
    assert bars("XNYS", Interval.H1, *half)[-1] == "2024-07-03T16:00"
    assert bars("XNYS", Interval.M30, *half) == bars("XNYS", Interval.M30, *half, SESSION)
    assert bars("XNYS", Interval.M5, *whole, SESSION)[:2] == ["2024-07-02T13:30", "2024-07-02T13:35"]


def test_a_range_takes_the_bars_that_start_in_it():
    assert bars("XNYS", Interval.H1, "2024-07-02T13:30", "2024-07-02T15:00") == ["2024-07-02T14:00"]
    assert bars("XNYS", Interval.H1, "2024-07-02T14:00", "2024-07-02T15:00:01") == [
        "2024-07-02T14:00",
        "2024-07-02T15:00",
    ]
    assert days("XNYS", "2024-07-02T00:01", "2024-07-03") == []
    for interval in Interval:
        assert bars("XNYS", interval, "2024-07-03", "2024-07-03") == []
        assert bars("XNYS", interval, "2024-07-08", "2024-07-01") == []


def test_weeks_and_months_have_a_session():
    assert bars("XNYS", Interval.W1, "2024-12-24", "2025-01-14") == [
        "2024-12-30T00:00",
        "2025-01-06T00:00",
        "2025-01-13T00:00",
    ]
    golden_week = bars("XTKS", Interval.W1, "2019-04-22", "2019-05-14")
    assert golden_week == ["2019-04-22T00:00", "2019-05-06T00:00", "2019-05-13T00:00"]
    assert bars("XNYS", Interval.MO1, "2024-01-02", "2024-04-01") == ["2024-02-01T00:00", "2024-03-01T00:00"]


@needs_shared_data
def test_new_york_since_1970_agrees_with_a_list_of_its_holidays():
    text = read("calendars/nyse_all_full_day_holidays_since_1928.csv").decode()
    parts = [line.split("/") for line in text.split()]
    holidays = {date(int(year), int(month), int(day)) for month, day, year in parts}
    one, wanted = date(1970, 1, 1), []
    while one < date(2021, 7, 6):
        if one.weekday() < 5 and one not in holidays:
            wanted.append(one.isoformat())
        one += timedelta(days=1)
    assert days("XNYS", "1970-01-01", "2021-07-06") == wanted


# Others


def test_tokyo_and_hong_kong_have_lunch():
    """Tokyo 9 to 11:30 and 12:30 to 15 (15:30 since November 2024), Hong Kong 9:30 to 12 and 13 to 16."""
    tokyo = bars("XTKS", Interval.M1, "2024-07-02", "2024-07-03")
    assert len(tokyo) == 300
    assert tokyo[149:151] == ["2024-07-02T02:29", "2024-07-02T03:30"]
    assert len(bars("XTKS", Interval.M1, "2024-11-06", "2024-11-07")) == 330
    hours = [f"2024-07-02T0{hour}:00" for hour in (0, 1, 2, 3, 4, 5)]
    assert bars("XTKS", Interval.H1, "2024-07-02", "2024-07-03") == hours
    assert bars("XTKS", Interval.H1, "2024-07-02", "2024-07-03", SESSION) == hours
    halves = bars("XTKS", Interval.M30, "2024-07-02", "2024-07-03")
    assert "2024-07-02T02:30" not in halves
    assert len(halves) == 10
    assert bars("XTKS", Interval.H4, "2024-07-02", "2024-07-03") == ["2024-07-02T00:00", "2024-07-02T04:00"]
    hong_kong = bars("XHKG", Interval.M1, "2024-07-02", "2024-07-03")
    assert (len(hong_kong), hong_kong[0], hong_kong[-1]) == (330, "2024-07-02T01:30", "2024-07-02T07:59")
    assert hong_kong[149:151] == ["2024-07-02T03:59", "2024-07-02T05:00"]
    assert days("XHKG", "2024-02-09", "2024-02-15") == ["2024-02-09", "2024-02-14"]  # new year
    assert len(bars("XHKG", Interval.M1, "2024-02-09", "2024-02-10")) == 150  # its eve has a morning only
    from_open = bars("XHKG", Interval.H1, "2024-07-02", "2024-07-03", SESSION)
    assert [one[11:] for one in from_open] == ["01:30", "02:30", "03:30", "04:30", "05:30", "06:30", "07:30"]


def test_a_session_that_opens_or_closes_within_its_break_has_none():
    """Hong Kong opens late, or closes early, after a typhoon: here on four days, with a break from 4 to 5."""

    def column(*hours):
        return np.array([f"2024-07-0{n}T0{hour}:00" for n, hour in enumerate(hours, 1)], "datetime64[us]")

    opens, closes = column(1, 4, 6, 1), column(8, 8, 8, 4)
    sessions = Sessions(opens.astype("datetime64[D]"), opens, closes, column(4, 3, 4, 4), column(5, 5, 5, 5))
    rows = rows_of(sessions, Interval.H1, Alignment.UTC)
    found = [str(one)[9:13] for one in rows.stamps()]
    hours = {"1": (1, 2, 3, 5, 6, 7), "2": (5, 6, 7), "3": (6, 7), "4": (1, 2, 3)}
    assert found == [f"{day}T0{hour}" for day, several in hours.items() for hour in several]
    assert len(rows) == len(found)


def test_london():
    assert minutes("XLON", "2024-12-24", "2024-12-25") == (270, "2024-12-24T08:00", "2024-12-24T12:29")
    assert minutes("XLON", "2024-07-02", "2024-07-03") == (510, "2024-07-02T07:00", "2024-07-02T15:29")
    assert days("XLON", "2022-09-16", "2022-09-21") == ["2022-09-16", "2022-09-20"]  # Elizabeth II
    assert days("XLON", "2024-12-24", "2024-12-31") == ["2024-12-24", "2024-12-27", "2024-12-30"]


def test_chicago_trades_through_the_night():
    """A session is called by the day it ends on; all of them are one stretch, in which no bar comes twice."""
    assert days("CMES", "2024-07-01", "2024-07-03") == ["2024-07-01", "2024-07-02"]
    night = bars("CMES", Interval.H4, "2024-07-01", "2024-07-03")
    assert len(night) == 12
    assert bars("CMES", Interval.H1, "2024-06-30T20:00", "2024-07-01")[0] == "2024-06-30T22:00"


@pytest.mark.parametrize("name", ["ASEX", "XBEL", "XBSE", "XCYS", "XTAE"])
def test_calendars_that_some_versions_of_pandas_break_can_be_made(name):
    assert 230 < len(days(name, "2024-01-01", "2025-01-01")) < 256


def test_saturdays_that_some_versions_of_pandas_lose():
    assert "1998-11-28" in days("XKRX", "1998-11-23", "1998-11-30")
    assert "2024-01-20" in days("XBOM", "2024-01-15", "2024-01-22")
    assert days("XTAE", "2024-07-07", "2024-07-13") == [f"2024-07-{day:02}" for day in range(7, 12)]
    assert days("ASEX", "2024-05-02", "2024-05-08") == ["2024-05-02", "2024-05-07"]  # Orthodox Easter


@pytest.mark.slow
@pytest.mark.parametrize("name", known_calendars())
def test_every_known_calendar_can_be_made(name):
    calendar = open_calendar(name)
    assert calendar.known[0] <= date(2021, 1, 1)
    assert calendar.known[1] >= date(2026, 12, 31)
    assert 200 < calendar.count(Interval.D1, at("2024-01-01"), at("2025-01-01")) <= 366
    assert calendar.next_close(at("2024-01-01")) is not None


# Without an exchange


def test_crypto_never_rests():
    year = open_calendar("24/7").expected(Interval.M1, at("2023-01-01"), at("2024-01-01"))
    assert (year == np.arange("2023-01-01", "2024-01-01", 60_000_000, "datetime64[us]")).all()
    assert len(year) == 525_600
    assert bars("24/7", Interval.H4, "2024-07-06T20:00", "2024-07-07T08:00", SESSION) == [
        "2024-07-06T20:00",
        "2024-07-07T00:00",
        "2024-07-07T04:00",
    ]
    assert days("24/7", "2024-07-06", "2024-07-08") == ["2024-07-06", "2024-07-07"]


def test_currencies_rest_from_friday_to_sunday_17_in_new_york():
    assert days("24/5", "2024-07-05", "2024-07-10") == ["2024-07-05", "2024-07-08", "2024-07-09"]
    weekend = bars("24/5", Interval.H1, "2024-07-05T19:00", "2024-07-07T23:00")
    assert weekend == ["2024-07-05T19:00", "2024-07-05T20:00", "2024-07-07T21:00", "2024-07-07T22:00"]
    winter = bars("24/5", Interval.H1, "2024-01-05T20:00", "2024-01-07T23:00")
    assert winter == ["2024-01-05T20:00", "2024-01-05T21:00", "2024-01-07T22:00"]
    # Clocks change on Sunday mornings: these weekends last 48 hours of the clock, 47 and 49 of time.
    spring = bars("24/5", Interval.H1, "2024-03-08T21:00", "2024-03-10T22:00")
    assert spring == ["2024-03-08T21:00", "2024-03-10T21:00"]
    autumn = bars("24/5", Interval.H1, "2024-11-01T20:00", "2024-11-03T23:00")
    assert autumn == ["2024-11-01T20:00", "2024-11-03T22:00"]
    assert len(bars("24/5", Interval.M1, "2024-07-08", "2024-07-13")) == 5 * 1440 - 3 * 60


def test_a_venue_nobody_knows_has_weekdays_and_no_hours():
    assert days("weekdays", "2024-07-04", "2024-07-09") == ["2024-07-04", "2024-07-05", "2024-07-08"]
    assert days("weekdays", "1962-01-05", "1962-01-09") == ["1962-01-05", "1962-01-08"]
    assert bars("weekdays", Interval.W1, "2024-07-01", "2024-07-09") == [
        "2024-07-01T00:00",
        "2024-07-08T00:00",
    ]
    for interval in INTRADAY:
        assert bars("weekdays", interval, "2024-07-01", "2024-07-08") == []


# Closes, bounds, versions


@pytest.mark.parametrize(
    ("name", "after", "close"),
    [
        ("XNYS", "2024-07-03T12:00", "2024-07-03T17:00"),
        ("XNYS", "2024-07-03T17:00", "2024-07-05T20:00"),
        ("XNYS", "2024-07-06", "2024-07-08T20:00"),
        ("XNYS", "2024-11-29", "2024-11-29T18:00"),
        ("XTKS", "2024-07-02T02:40", "2024-07-02T06:00"),
        ("24/7", "2024-07-06T00:00", "2024-07-07T00:00"),
        ("24/5", "2024-07-05T20:59", "2024-07-05T21:00"),
        ("24/5", "2024-07-05T21:00", "2024-07-08T21:00"),
        ("24/5", "2024-01-08", "2024-01-08T22:00"),
        ("weekdays", "2024-07-05T12:00", "2024-07-06T00:00"),
        ("weekdays", "2024-07-06T00:00", "2024-07-09T00:00"),
        ("24/7", "1900-01-01", "1900-01-02"),
    ],
)
def test_the_next_close(name, after, close):
    assert open_calendar(name).next_close(at(after)) == at(close)


@pytest.mark.parametrize("name", SOME)
def test_beyond_what_is_known_nothing_is_expected(name):
    calendar = open_calendar(name)
    ahead = datetime.now(UTC).date() + timedelta(days=300)
    assert calendar.known[0] <= date(1997, 1, 1)
    assert calendar.known[1] > ahead
    for interval in (Interval.M1, Interval.D1, Interval.MO1):
        assert calendar.count(interval, at("1800-01-01"), at("1899-12-01")) == 0
        assert calendar.count(interval, at("2200-01-01"), at("9999-12-31")) == 0
    assert calendar.next_close(at("2200-01-01")) is None


def test_a_calendar_is_made_once_and_anew_for_another_year(monkeypatch):
    assert open_calendar("XNYS") is open_calendar("XNYS")
    later = datetime(2030, 5, 1, tzinfo=UTC)
    monkeypatch.setattr(calendar_module, "now", lambda: later)
    assert open_calendar("24/7").known == (date(1900, 1, 1), date(2031, 12, 31))
    assert open_calendar("XSHG").known[0] == date(1990, 12, 3)
    assert open_calendar("XSHG").known[1].year < 2031  # its holidays are told year by year


def test_versions_tell_what_sessions_come_from():
    from importlib.metadata import version

    assert open_calendar("24/7").version == "1"
    library = f"exchange_calendars {version('exchange_calendars')}"
    assert open_calendar("XNYS").version == library
    closed = open_calendar("XNYS", [Override(date(2024, 7, 2))]).version
    other = open_calendar("XNYS", [Override(date(2024, 7, 3))]).version
    assert len({library, closed, other}) == 3
    assert closed.startswith(f"{library}+")
    assert len(closed) == len(library) + 9


# Overrides


def test_an_override_closes_a_day_opens_one_or_changes_its_hours():
    week = ("2024-07-01", "2024-07-08")
    closed = [Override(date(2024, 7, 2))]
    assert days("XNYS", *week, closed) == ["2024-07-01", "2024-07-03", "2024-07-05"]
    assert bars("XNYS", Interval.M1, "2024-07-02", "2024-07-03", overrides=closed) == []
    saturday = [Override(date(2024, 7, 6), at("2024-07-06T14:00"), at("2024-07-06T15:00"))]
    assert days("XNYS", *week, saturday)[-1] == "2024-07-06"
    assert minutes("XNYS", "2024-07-06", "2024-07-07", saturday) == (
        60,
        "2024-07-06T14:00",
        "2024-07-06T14:59",
    )
    assert open_calendar("XNYS", saturday).next_close(at("2024-07-06")) == at("2024-07-06T15:00")
    short = [Override(date(2024, 7, 2), at("2024-07-02T00:00"), at("2024-07-02T06:00"))]
    assert len(bars("XTKS", Interval.M1, "2024-07-02", "2024-07-03", overrides=short)) == 360  # no break
    assert bars("XNYS", Interval.W1, *week, overrides=[*closed, *saturday]) == ["2024-07-01T00:00"]
    outage = [Override(date(2024, 7, 2))]
    assert days("24/7", "2024-07-01", "2024-07-04", outage) == ["2024-07-01", "2024-07-03"]
    ahead = [Override(date(2090, 7, 3), at("2090-07-03T13:30"), at("2090-07-03T17:00"))]
    assert days("XNYS", "2090-01-01", "2091-01-01", ahead) == ["2090-07-03"]


def test_the_last_override_of_a_day_counts():
    opened = Override(date(2024, 7, 6), at("2024-07-06T14:00"), at("2024-07-06T15:00"))
    assert days("XNYS", "2024-07-06", "2024-07-07", [Override(date(2024, 7, 6)), opened]) == ["2024-07-06"]
    assert days("XNYS", "2024-07-06", "2024-07-07", [opened, Override(date(2024, 7, 6))]) == []


def test_an_override_that_overlaps_its_neighbour_repeats_no_bar():
    long = [Override(date(2024, 7, 2), at("2024-07-01T15:10"), at("2024-07-03T15:20"))]
    for interval in INTRADAY:
        for alignment in Alignment:
            found = bars("XNYS", interval, "2024-06-30", "2024-07-05", alignment, long)
            assert found == sorted(set(found))


@pytest.mark.parametrize(
    ("opens", "closes", "message"),
    [
        ("2024-07-02T13:30", None, "both an open and a close"),
        (None, "2024-07-02T13:30", "both an open and a close"),
        ("2024-07-02T13:30", "2024-07-02T13:30", "does not lie after the open"),
        ("2023-07-02T13:30", "2023-07-02T14:30", "more than a day away"),
        ("2024-07-04T13:30", "2024-07-04T14:30", "more than a day away"),
    ],
)
def test_an_override_is_one_session_of_its_day(opens, closes, message):
    with pytest.raises(InvalidInput, match=message):
        Override(date(2024, 7, 2), opens and at(opens), closes and at(closes))


def test_an_override_needs_a_zone_and_keeps_utc():
    with pytest.raises(InvalidInput, match="need an offset"):
        Override(date(2024, 7, 2), datetime(2024, 7, 2, 9), datetime(2024, 7, 2, 16))  # noqa: DTZ001 # the point
    local = [datetime.fromisoformat(f"2024-07-02T{time}-04:00") for time in ("09:30", "16:00")]
    assert Override(date(2024, 7, 2), *local).opens == at("2024-07-02T13:30")
    assert Override(date(2024, 7, 2), *local).opens.tzinfo is UTC


# What holds for all

INSTANTS = st.datetimes(datetime(1998, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 # as UTC
STRETCHES = st.integers(0, 20 * 1440).map(lambda n: timedelta(minutes=n))


@pytest.mark.parametrize("name", SOME)
@given(
    interval=st.sampled_from(Interval), alignment=st.sampled_from(Alignment), start=INSTANTS, length=STRETCHES
)
def test_what_is_expected_is_ascending_within_its_range_and_counted(name, interval, alignment, start, length):
    calendar, end = open_calendar(name), start + length
    found = calendar.expected(interval, start, end, alignment)
    assert (np.diff(found) > np.timedelta64(0)).all()
    assert all(start <= one.replace(tzinfo=UTC) < end for one in found[[0, -1][: len(found)]].tolist())
    assert calendar.count(interval, start, end, alignment) == len(found)
    assert interval.aligned(found, alignment).all()
    if not interval.is_intraday:
        assert len(found) <= length.days + 1


@pytest.mark.parametrize("name", SOME)
@given(
    interval=st.sampled_from(Interval),
    alignment=st.sampled_from(Alignment),
    start=INSTANTS,
    lengths=st.tuples(STRETCHES, STRETCHES),
)
def test_adjacent_ranges_add_up(name, interval, alignment, start, lengths):
    calendar, middle, end = open_calendar(name), start + lengths[0], start + lengths[0] + lengths[1]
    parts = [
        calendar.expected(interval, start, middle, alignment),
        calendar.expected(interval, middle, end, alignment),
    ]
    assert (np.concatenate(parts) == calendar.expected(interval, start, end, alignment)).all()


@pytest.mark.parametrize("name", ["XNYS", "XTKS", "24/5", "CMES"])
@given(interval=st.sampled_from(INTRADAY), alignment=st.sampled_from(Alignment), start=INSTANTS)
def test_a_bar_is_expected_for_every_minute_of_trading_and_for_no_other(name, interval, alignment, start):
    """Bars of any length hold some minute that trades, and all of those lie in a bar."""
    calendar, step = open_calendar(name), timedelta(minutes=STEPS[interval])
    start = start.replace(second=0, microsecond=0)
    end = start + timedelta(days=4)
    found = calendar.expected(interval, start - step, end, alignment)
    trading = calendar.expected(Interval.M1, start - step, end + step)
    next_minute = np.append(trading, np.datetime64("NaT"))[np.searchsorted(trading, found)]
    assert (next_minute < found + np.timedelta64(step)).all()
    wanted = calendar.expected(Interval.M1, start, end)
    if len(wanted):
        places = np.searchsorted(found, wanted, "right") - 1
        assert (places >= 0).all()
        assert (wanted < found[places] + np.timedelta64(step)).all()


@given(day=st.dates(date(1998, 1, 5), date(2026, 12, 20)), opened=st.booleans())
@settings(max_examples=25)  # each is a calendar of its own
def test_an_override_changes_its_own_day_and_no_other(day, opened):
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    times = (midnight + timedelta(hours=3), midnight + timedelta(hours=4)) if opened else (None, None)
    plain, changed = open_calendar("XNYS"), open_calendar("XNYS", [Override(day, *times)])
    around = (midnight - timedelta(days=9), midnight + timedelta(days=9))
    others = [one for one in plain.expected(Interval.D1, *around).tolist() if one.date() != day]
    own = [datetime(day.year, day.month, day.day)] if opened else []  # noqa: DTZ001 # as NumPy gives them
    assert changed.expected(Interval.D1, *around).tolist() == sorted([*others, *own])
    minutes_of_others = [one for one in plain.expected(Interval.M1, *around).tolist() if one.date() != day]
    own = [times[0].replace(tzinfo=None) + timedelta(minutes=n) for n in range(60)] if opened else []
    assert changed.expected(Interval.M1, *around).tolist() == sorted([*minutes_of_others, *own])
    assert changed.known == plain.known
