"""From the stamp a source put on a bar to where the bar starts and ends.

A stamp that labels the end of an intraday bar lies one interval after its start. Of bars of a day and longer
it is the end's date or instant: the bar is the one that holds the microsecond before. So 2024-01-03 00:00 is
in 2024-01-02, and 16:00 the same day; Friday, Sunday and next Monday 00:00 mean the same week.
"""

import numpy as np

from market_data.core.interval import Stamps
from market_data.etl.transformers.localise import Localised, day_start, to_utc, to_wall
from market_data.etl.transformers.rules import Label, Rules

_TICK = np.timedelta64(1, "us")


def bar_starts(stamps: Stamps, rules: Rules) -> Localised:
    """Return each bar's `ts`. Stamps hold no NaT and lie in the storable years.

    Bars of a day and longer take the wall clock's date, so no time of theirs is ambiguous.
    """
    if rules.by_date:
        wall = stamps if rules.wall_clock else to_wall(stamps, rules.timezone)
        inside = wall - _TICK if rules.label is Label.END else wall
        nowhere = np.zeros(len(stamps), np.bool_)
        return Localised(rules.interval.floor(inside), nowhere, nowhere)
    nowhere = np.zeros(len(stamps), np.bool_)
    found = to_utc(stamps, rules.timezone) if rules.wall_clock else Localised(stamps, nowhere, nowhere)
    if rules.label is Label.START:
        return found
    return Localised(_before(found.ts, rules), found.ambiguous, found.nonexistent)


def _before(ends: Stamps, rules: Rules) -> Stamps:
    if rules.interval.is_intraday:
        shifted: Stamps = ends - np.timedelta64(rules.interval.duration)
        return shifted
    # A misaligned end stays as it is, to be refused as misaligned.
    return np.where(rules.interval.aligned(ends), rules.interval.floor(ends - _TICK), ends)


def bar_span(ts: Stamps, rules: Rules) -> tuple[Stamps, Stamps]:
    """Return the instants (UTC) at which bars really begin and end: of local dates, the zone's midnights."""
    ends = rules.interval.end(ts)
    if rules.by_date:
        return day_start(ts, rules.timezone), day_start(ends, rules.timezone)
    return ts, ends
