# ruff: noqa: DTZ001 - NumPy stamps are naive, and UTC by definition here
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_data.core.exceptions import InvalidInput
from market_data.etl.transformers.localise import check_zone, day_start, in_years, to_utc, to_wall

ZONES = st.sampled_from(
    [
        "America/New_York",
        "Europe/London",
        "Asia/Kolkata",
        "Asia/Tokyo",
        "Australia/Lord_Howe",
        "America/Sao_Paulo",
        "Africa/Cairo",
        "Pacific/Apia",
        "America/Havana",
        "Asia/Beirut",
    ]
)


def stamps(*texts):
    return np.array(texts, "datetime64[us]")


def near_changes():
    """Moments in the weeks in which most zones move their clocks, and any other."""
    return st.one_of(
        st.datetimes(datetime(1975, 1, 1), datetime(2037, 1, 1)),
        st.datetimes(datetime(2018, 10, 20), datetime(2018, 11, 10)),
        st.datetimes(datetime(2024, 3, 8), datetime(2024, 4, 8)),
        st.datetimes(datetime(2011, 12, 28), datetime(2012, 1, 1)),
    )


@given(wall=near_changes(), zone=ZONES)
def test_wall_clock_agrees_with_zoneinfo(wall, zone):
    info = ZoneInfo(zone)
    first, second = (wall.replace(tzinfo=info, fold=fold) for fold in (0, 1))
    exists = first.astimezone(UTC).astimezone(info).replace(tzinfo=None) == wall
    twice = exists and first.utcoffset() != second.utcoffset()
    found = to_utc(stamps(wall), zone)
    assert found.nonexistent[0] == (not exists)
    assert found.ambiguous[0] == twice
    if exists and not twice:
        assert found.ts[0].item() == first.astimezone(UTC).replace(tzinfo=None)
    else:
        assert np.isnat(found.ts[0])


@given(instant=near_changes(), zone=ZONES)
def test_instants_agree_with_zoneinfo(instant, zone):
    shown = instant.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    assert to_wall(stamps(instant), zone)[0].item() == shown


@given(day=near_changes(), zone=ZONES)
def test_a_day_starts_at_the_first_instant_of_its_date(day, zone):
    midnight = datetime(day.year, day.month, day.day)
    start = day_start(stamps(midnight), zone)[0].item().replace(tzinfo=UTC)
    at, before = (
        moment.astimezone(ZoneInfo(zone)).date() for moment in (start, start - timedelta(seconds=1))
    )
    assert before < midnight.date() <= at


@pytest.mark.parametrize(
    ("date", "zone", "start"),
    [
        ("2024-01-02", "UTC", "2024-01-02T00:00"),
        ("2024-01-02", "America/New_York", "2024-01-02T05:00"),
        ("2018-11-04", "America/Sao_Paulo", "2018-11-04T03:00"),  # clocks went from 00:00 to 01:00
        ("2024-11-03", "America/Havana", "2024-11-03T04:00"),  # 00:00 came twice
        ("2011-12-30", "Pacific/Apia", "2011-12-30T10:00"),  # there was no such day
    ],
)
def test_midnights_by_hand(date, zone, start):
    assert day_start(stamps(date), zone)[0] == np.datetime64(start)


def test_new_york_by_hand():
    found = to_utc(
        stamps("2024-03-10T02:30", "2024-11-03T01:30", "2024-07-01T09:30", "2024-01-02T09:30", "NaT"),
        "America/New_York",
    )
    assert found.nonexistent.tolist() == [True, False, False, False, False]
    assert found.ambiguous.tolist() == [False, True, False, False, False]
    assert found.ts[2:4].tolist() == [datetime(2024, 7, 1, 13, 30), datetime(2024, 1, 2, 14, 30)]
    assert np.isnat(found.ts[[0, 1, 4]]).all()


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
def test_no_year_breaks_it(zone):
    extremes = np.array([-(2**63) + 1, -(2**62), 2**62, 2**63 - 1, -(2**63)], "int64").view("datetime64[us]")
    wide = np.concatenate([extremes, stamps("0001-01-01", "1677-12-31", "2262-01-01", "9999-12-31T23:59:59")])
    assert not in_years(wide).any()
    assert np.isnat(to_utc(wide, zone).ts).all()
    assert not (to_utc(wide, zone).ambiguous | to_utc(wide, zone).nonexistent).any()
    assert np.isnat(to_wall(wide, zone)).all()
    assert np.isnat(day_start(wide, zone)).all()
    edges = stamps("1678-01-01", "2261-12-31T23:59:59.999999")
    assert in_years(edges).all()
    assert not np.isnat(to_utc(edges, zone).ts).any()


def test_nothing_becomes_nothing():
    assert len(to_utc(stamps(), "America/New_York").ts) == 0
    assert len(to_wall(stamps(), "America/New_York")) == 0


@pytest.mark.parametrize("call", [to_utc, to_wall, day_start])
def test_an_unknown_zone_is_named(call):
    with pytest.raises(InvalidInput, match="Mars/Base") as caught:
        call(stamps("2024-01-02"), "Mars/Base")
    assert caught.value.field == "timezone"
    assert check_zone("Europe/Berlin") == "Europe/Berlin"
