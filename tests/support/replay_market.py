"""A market that can be computed: bars are a function of symbol and time, so tests know what must be stored.

Integers throughout (minutes since 1970, cents, thousandths of a share), so that each machine gets the same.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from market_data.core.bars import Bars
from market_data.core.interval import Interval

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

STEPS = {Interval.M1: 1, Interval.D1: 1440}
"""Minutes of a bar, for the intervals there are."""

_SYMBOL = re.compile(r"S([0-9]{4})USDT")
_OPEN, _CLOSE = 14 * 60 + 30, 21 * 60
_MONDAY = 3  # 1970-01-01 was a Thursday
_WORD = 2**64 - 1
_AT_ONCE = 2**16
"""Rows computed together: few enough to stay in the processor's cache."""

_WAVES = ((0, 1), (5, 10), (10, 50), (15, 200), (19, 500))
"""What moves a price: log2 of the minutes between turns, and the size in thousandths of the symbol's base."""
_HOLES = ((6, 4), (12, 4))
"""Log2 of the bars with room for one hole of at most half as many, and one in how many has it."""
_SALTS = {"base": 1, "wick": 2, "volume": 3, "wave": 100, "hole": 200}


@dataclass(frozen=True)
class Market:
    """What exists: bars that start at or after `first` and before `until`, the simulated now."""

    first: datetime = datetime(2017, 1, 1, tzinfo=UTC)
    until: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    sessions: bool = False
    """Only the minutes from 14:30 to 21:00 UTC (days) of Monday to Friday."""
    holes: int | None = None
    """Seed of the stretches left out; see `in_hole`."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Bars as integers of one length: minutes since 1970, cents, and thousandths for the volume."""

    minutes: Ints
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    volume: Ints


ALWAYS = Market()


def bars(symbol: str, interval: Interval, start: datetime, end: datetime, market: Market = ALWAYS) -> Bars:
    """Return all bars that start in [start, end), as the vendor's text reads when parsed to doubles.

    Days are drawn like minutes, not made of them: opens and closes agree, highs, lows and volumes do not.

    Raises:
        ValueError: no such symbol or interval.

    """
    found = minutes(symbol, interval, minute(start), minute(end), market)
    parts = [
        _bars(rows(symbol, interval, found[at : at + _AT_ONCE])) for at in range(0, len(found), _AT_ONCE)
    ]
    return Bars.concat(parts)


def minute(instant: datetime) -> int:
    """Return the first whole minute since 1970 that is not before an instant."""
    return -int((datetime.fromtimestamp(0, UTC) - instant).total_seconds() // 60)


def minutes(
    symbol: str, interval: Interval, start: int, end: int, market: Market = ALWAYS, most: int | None = None
) -> Ints:
    """Return the starts of the bars there are in [start, end), the `most` first ones; all in minutes."""
    step = _step(interval)
    low = -(-max(start, minute(market.first), 0) // step)
    high = -(-min(end, minute(market.until)) // step)
    width = _AT_ONCE if most is None else most
    wanted = high - low if most is None else most
    found = [np.empty(0, "int64")]
    while low < high and wanted > 0:
        some = np.arange(low, min(low + width, high)) * step
        some = some[_exists(symbol, interval, some, market)][:wanted]
        found.append(some)
        low, wanted, width = low + width, wanted - len(some), min(2 * width, _AT_ONCE)
    return np.concatenate(found)


def in_hole(symbol: str, interval: Interval, starts: Ints, seed: int) -> Mask:
    """Which bars (starts in minutes) are left out: stretches of 1 to 32 bars, and of up to 2048."""
    numbers = starts // _step(interval)
    out = np.zeros(len(numbers), "bool")
    for log, rarity in _HOLES:
        draw = _noise(numbers >> log, _seed(symbol, _SALTS["hole"] + log, seed))
        most = 1 << (log - 1)
        length = (draw >> 8) % most + 1
        begin = (draw >> 24) % most
        at = numbers & ((1 << log) - 1)
        out |= (draw % rarity == 0) & (at >= begin) & (at < begin + length)
    return out


def rows(symbol: str, interval: Interval, starts: Ints) -> Rows:
    """Compute the bars that start at the given minutes, whether the market has them or not."""
    opens = _path(symbol, starts)
    closes = _path(symbol, starts + _step(interval))
    reach = _base(symbol) // 1000 + 1
    wick = _noise(starts, _seed(symbol, _SALTS["wick"], _step(interval)))
    traded = _noise(starts, _seed(symbol, _SALTS["volume"], _step(interval)))
    return Rows(
        starts,
        opens,
        np.maximum(opens, closes) + wick % reach,
        np.minimum(opens, closes) - (wick >> 20) % reach,
        closes,
        ((traded & 1023) + 1) * (((traded >> 20) & 8191) + 1),  # many small, few large
    )


def _bars(found: Rows) -> Bars:
    ts = (found.minutes * 60_000_000).astype("datetime64[us]")
    prices = (cents / 100 for cents in (found.open, found.high, found.low, found.close))
    return Bars(ts, *prices, found.volume / 1000)


def _exists(symbol: str, interval: Interval, starts: Ints, market: Market) -> Mask:
    there = np.ones(len(starts), "bool")
    if market.sessions:
        there = (starts // 1440 + _MONDAY) % 7 < 5
        if interval is Interval.M1:
            there &= (starts % 1440 >= _OPEN) & (starts % 1440 < _CLOSE)
    if market.holes is not None:
        there &= ~in_hole(symbol, interval, starts, market.holes)
    return there


def _path(symbol: str, at: Ints) -> Ints:
    """Cents at given minutes: a base and noise that turns slowly, and less and less slowly."""
    base = _base(symbol)
    total = np.full(len(at), base)
    for log, share in _WAVES:
        seed = _seed(symbol, _SALTS["wave"] + log)
        size = base * share // 1000
        left, part = at >> log, at & ((1 << log) - 1)
        sway = _sway(left, seed) * ((1 << log) - part)
        if log:
            sway += _sway(left + 1, seed) * part
        total += (sway * size) >> (log + 15)
    return total


def _sway(turns: Ints, seed: int) -> Ints:
    return (_noise(turns, seed) >> 47) - 2**15


def _base(symbol: str) -> int:
    return 2_000 + _seed(symbol, _SALTS["base"]) % 98_000


def _noise(counters: Ints, seed: int) -> Ints:
    """Return 63 bits for each counter: SplitMix64, https://doi.org/10.1145/2714064.2660195."""
    z = counters.astype("uint64") * 0x9E3779B97F4A7C15 + seed
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB
    return ((z ^ (z >> 31)) >> 1).astype("int64")


@lru_cache(maxsize=2**17)
def _seed(symbol: str, *salts: int) -> int:
    seed = _number(symbol)
    for salt in salts:
        seed = int(_noise(np.array([salt]), (seed * 0xD1342543DE82EF95 + 1) & _WORD)[0])
    return seed


def _number(symbol: str) -> int:
    match = _SYMBOL.fullmatch(symbol)
    if match is None:
        raise ValueError(f"{symbol[:40]!r} is none of S0000USDT to S9999USDT")
    return int(match[1])


def _step(interval: Interval) -> int:
    if interval not in STEPS:
        raise ValueError(f"no {interval} bars: only {', '.join(STEPS)}")
    return STEPS[interval]
