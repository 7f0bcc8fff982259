"""Bars of one block as compressed columns: what the column index holds.

Prices are nearly always decimal: they become whole ticks, each bar is told by its distance to the close
before, the bytes are shuffled so that equal ones lie together, and zstd does the rest. What is not decimal is
kept as doubles. `decode` returns the very doubles `encode` was given.
"""

import struct

import numpy as np
from backports import zstd
from numpy.typing import NDArray

from market_data.core.bars import Bars, Floats
from market_data.core.interval import Stamps

_FORMAT = 1
_LEVEL = 3
_HEAD = struct.Struct("<BIqqqBB6B")
"""Format, bars, first ts, unit of ts, first open in ticks, decimals of prices and volume, column widths."""
_RAW, _ABSENT = 255, 254
"""Instead of decimals: doubles as they are; no volume at all."""
_MOST_DECIMALS = 12
_EXACT = 2.0**53
"""Up to here doubles hold every whole number."""
_SAMPLE = 16

_Ints = NDArray[np.int64]


def _decimals(values: Floats) -> int:
    """Return the least number of decimal places that gives every value back exactly, or `_RAW`."""
    if not len(values):
        return 0
    if (np.signbit(values) & (values == 0)).any():  # a tick has no negative zero
        return _RAW
    places = 0
    for tried in (values[:_SAMPLE], values):
        while places <= _MOST_DECIMALS and not _is_exact(tried, places):
            places += 1
    return places if places <= _MOST_DECIMALS else _RAW


def _is_exact(values: Floats, places: int) -> bool:
    with np.errstate(over="ignore"):  # what becomes infinite is not exact
        ticks = np.rint(values * 10.0**places)
    return bool((np.abs(ticks) < _EXACT).all() and (ticks / 10.0**places == values).all())


def _ticks(values: Floats, places: int) -> _Ints:
    return np.rint(values * 10.0**places).astype("int64")


def _pack(values: NDArray[np.int64] | Floats) -> tuple[int, bytes]:
    """Write values with as few bytes each as hold them, byte by byte: all lowest ones first."""
    width = 8
    if values.dtype.kind == "i" and len(values):
        low, high = int(values.min()), int(values.max())
        width = next(w for w in (1, 2, 4, 8) if -(1 << 8 * w - 1) <= low and high < 1 << 8 * w - 1)
        values = values.astype(f"<i{width}")
    return width, values.view("u1").reshape(-1, width).T.tobytes()


def _prices(bars: Bars) -> tuple[int, int, list[_Ints] | list[Floats]]:
    """Return decimals, first open in ticks, and four columns: steps between bars, or doubles."""
    floats = [bars.open, bars.high, bars.low, bars.close]
    places = _decimals(np.concatenate(floats))
    if places == _RAW:
        return _RAW, 0, floats
    opened, high, low, close = (_ticks(column, places) for column in floats)
    before = np.concatenate((opened[:1], close[:-1]))
    top, bottom = np.maximum(opened, close), np.minimum(opened, close)
    return places, int(opened[0]), [opened - before, close - opened, high - top, bottom - low]


def _volume(volume: Floats) -> tuple[int, list[_Ints] | list[Floats]]:
    absent = np.isnan(volume)
    if absent.all():
        return _ABSENT, []
    places = _decimals(volume[~absent])
    if places == _RAW:
        return _RAW, [volume]
    ticks = np.full(len(volume), -1, "int64")  # less than any volume
    ticks[~absent] = _ticks(volume[~absent], places)
    return places, [ticks]


def encode(bars: Bars) -> bytes:
    """Write bars of one series, sorted by ts; none are no bytes."""
    if not len(bars):
        return b""
    stamps = bars.ts.view("int64")
    steps = np.diff(stamps, prepend=stamps[:1])
    unit = max(int(np.gcd.reduce(steps)), 1)
    places, first_open, prices = _prices(bars)
    volume_places, volume = _volume(bars.volume)
    packed = [_pack(column) for column in (steps // unit, *prices, *volume)]
    widths = [width for width, _ in packed] + [0] * (6 - len(packed))
    head = _HEAD.pack(_FORMAT, len(bars), int(stamps[0]), unit, first_open, places, volume_places, *widths)
    return head + zstd.compress(b"".join(data for _, data in packed), _LEVEL)


def decode(block: bytes) -> Bars:
    """Read a block back.

    Raises:
        ValueError: another format wrote it; `market-data db reindex` writes it anew.

    """
    if not block:
        return Bars.empty()
    version, n, first_ts, unit, first_open, places, volume_places, *widths = _HEAD.unpack_from(block)
    if version != _FORMAT:
        raise ValueError(f"a column block has format {version}, not {_FORMAT}: run `market-data db reindex`")
    data = np.frombuffer(zstd.decompress(memoryview(block)[_HEAD.size :]), "u1")
    columns: list[NDArray[np.uint8]] = []
    place = 0
    for width in widths:
        columns.append(np.ascontiguousarray(data[place : place + n * width].reshape(width, n).T))
        place += n * width
    ts = np.cumsum(_ints(columns[0])) * unit + first_ts
    stamps: Stamps = ts.view("datetime64[us]")
    opened, high, low, close = _read_prices(columns[1:5], places, first_open)
    return Bars(stamps, opened, high, low, close, _read_volume(columns, volume_places, n))


def _ints(column: NDArray[np.uint8]) -> _Ints:
    return column.view(f"<i{column.shape[1]}").reshape(-1).astype("int64")


def _doubles(column: NDArray[np.uint8]) -> Floats:
    return column.view("<f8").reshape(-1)


def _read_prices(columns: list[NDArray[np.uint8]], places: int, first_open: int) -> list[Floats]:
    if places == _RAW:
        return [_doubles(column) for column in columns]
    gap, body, above, below = (_ints(column) for column in columns)
    close = np.cumsum(gap + body) + first_open
    opened = close - body
    high, low = np.maximum(opened, close) + above, np.minimum(opened, close) - below
    scale = 10.0**places
    return [ticks / scale for ticks in (opened, high, low, close)]


def _read_volume(columns: list[NDArray[np.uint8]], places: int, n: int) -> Floats:
    if places == _ABSENT:
        return np.full(n, np.nan)
    if places == _RAW:
        return _doubles(columns[5])
    ticks = _ints(columns[5])
    volume: Floats = ticks / 10.0**places
    volume[ticks < 0] = np.nan
    return volume
