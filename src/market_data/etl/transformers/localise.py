"""Between the wall clock of a time zone and UTC, vectorised. A time that never or twice was is not guessed.

Stamps are datetime64[us] of shape (n,). Only years `FIRST_YEAR` to `LAST_YEAR` are converted: PostgreSQL,
NumPy, Arrow and pandas (whose nanoseconds end in 2262) all hold them. Zone rules are those built into Polars;
they know daylight saving until 2100, which no finished bar has reached, and local mean time before zones.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from market_data.core.exceptions import InvalidInput
from market_data.core.interval import Stamps
from market_data.etl.transformers.rejection import Mask

FIRST_YEAR = 1678
LAST_YEAR = 2261

_FIRST = np.datetime64(f"{FIRST_YEAR}-01-01", "us")
_AFTER = np.datetime64(f"{LAST_YEAR + 1}-01-01", "us")
_NAT = np.datetime64("NaT", "us")
_BEFORE_GAP = np.timedelta64(3 * 3600 * 1_000_000, "us")


@dataclass(frozen=True, slots=True, eq=False)
class Localised:
    """Instants in UTC; NaT where the clock showed that time twice (`ambiguous`) or never (`nonexistent`)."""

    ts: Stamps
    ambiguous: Mask
    nonexistent: Mask


def check_zone(zone: str) -> str:
    """Return the zone if it is an IANA name.

    Raises:
        InvalidInput: it is not; the field is `timezone`.

    """
    try:
        pl.Series([0], dtype=pl.Datetime("us")).dt.replace_time_zone(zone)
    except pl.exceptions.PolarsError:
        raise InvalidInput(
            "timezone", f"{zone[:60]!r} is no IANA time zone, such as America/New_York"
        ) from None
    return zone


def in_years(stamps: Stamps) -> Mask:
    """Which stamps lie in the years that can be stored; NaT does not."""
    inside: Mask = (stamps >= _FIRST) & (stamps < _AFTER)
    return inside


def to_utc(wall: Stamps, zone: str) -> Localised:
    """Read wall-clock times of a zone as instants. NaT, and years out of range, become NaT without a mark.

    Raises:
        InvalidInput: no such zone.

    """
    safe = np.where(in_years(wall), wall, _NAT)
    nowhere = np.zeros(len(wall), np.bool_)
    if zone == "UTC":
        return Localised(safe, nowhere, nowhere)
    ts = _replace(safe, zone, "null")
    lost = np.isnat(ts) & ~np.isnat(safe)
    if not lost.any():
        return Localised(ts, nowhere, nowhere)
    ambiguous = nowhere.copy()
    ambiguous[lost] = ~np.isnat(_replace(safe[lost], zone, "earliest"))
    return Localised(ts, ambiguous, lost & ~ambiguous)


def to_wall(ts: Stamps, zone: str) -> Stamps:
    """Read instants (UTC) off the wall clock of a zone. NaT, and years out of range, become NaT.

    Raises:
        InvalidInput: no such zone.

    """
    safe = np.where(in_years(ts), ts, _NAT)
    if zone == "UTC":
        return safe
    utc = _series(safe).dt.replace_time_zone("UTC")
    return _numpy(utc.dt.convert_time_zone(check_zone(zone)).dt.replace_time_zone(None))


def day_start(dates: Stamps, zone: str) -> Stamps:
    """First instant (UTC) of each local date, given as its 00:00; NaT where the year is out of range.

    Where clocks skip midnight the day starts when they have moved; where midnight comes twice, at the first.

    Raises:
        InvalidInput: no such zone.

    """
    safe = np.where(in_years(dates), dates, _NAT)
    if zone == "UTC":
        return safe
    ts = _replace(safe, zone, "earliest")
    skipped = np.isnat(ts) & ~np.isnat(safe)
    if skipped.any():
        ts = ts.copy()
        # Counted on with the clock of the evening before, midnight is the moment it was moved.
        ts[skipped] = _replace(np.subtract(safe[skipped], _BEFORE_GAP), zone, "earliest") + _BEFORE_GAP
    return ts


def _replace(wall: Stamps, zone: str, ambiguous: Literal["null", "earliest"]) -> Stamps:
    local = _series(wall).dt.replace_time_zone(check_zone(zone), ambiguous=ambiguous, non_existent="null")
    return _numpy(local.dt.convert_time_zone("UTC").dt.replace_time_zone(None))


def _series(stamps: Stamps) -> pl.Series:
    return pl.Series(stamps.astype("datetime64[us]"), dtype=pl.Datetime("us"))


def _numpy(series: pl.Series) -> Stamps:
    found: Stamps = series.to_numpy().astype("datetime64[us]")
    return found
