"""Bars as Binance writes them, a thousand at a time: digits come from a table, not from formatting.

https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints#klinecandlestick-data
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from market_data.core.interval import Interval
from tests.support.replay_market import STEPS, Ints, Rows

Text = NDArray[np.uint8]

_BLANK = b"\0"


def _table(texts: Iterable[bytes]) -> NDArray[np.uint32]:
    return np.frombuffer(b"".join(text.rjust(4, _BLANK) for text in texts), "uint32")


_QUADS = _table(b"%04d" % number for number in range(10_000))
_LAST = _table(b"%d" % number for number in range(10_000))
_FIRST = _table(b"%d" % number if number else b"" for number in range(10_000))


def render(rows: Rows, interval: Interval) -> bytes:
    """Return the JSON body of one page."""
    opened = rows.minutes * 60_000
    closed = opened + STEPS[interval] * 60_000 - 1
    bought = rows.volume // 2
    prices = [_fixed(cents, 2) for cents in (rows.open, rows.high, rows.low, rows.close)]
    cells = [
        [_whole(opened, 4)],
        *prices,
        _fixed(rows.volume, 3),
        [_whole(closed, 4)],
        _fixed(rows.volume * rows.close, 5, groups=2),
        [_whole(rows.volume // 100 + 1, 2)],
        _fixed(bought, 3),
        _fixed(bought * rows.close, 5, groups=2),
        [b'"0"'],
    ]
    parts: list[Text | bytes] = []
    for number, cell in enumerate(cells):
        parts += [b"[" if number == 0 else b",", *cell]
    return b"[" + _joined([*parts, b"],"], len(rows.minutes))[:-1] + b"]"


def _fixed(values: Ints, decimals: int, groups: int = 1) -> list[Text | bytes]:
    """Write values / 10**decimals in quotes with eight decimals; `groups` of four digits before the point."""
    whole, part = np.divmod(values, 10**decimals)
    return [b'"', _whole(whole, groups), b".", _digits(part * 10 ** (8 - decimals)), b'"']


def _whole(values: Ints, groups: int) -> Text:
    """Digits without leading zeros: blanks stand for them until all is joined."""
    quads = np.empty((len(values), groups), "uint32")
    for group in reversed(range(groups)):
        rest, last = np.divmod(values, 10_000)
        first = _LAST if group == groups - 1 else _FIRST
        quads[:, group] = np.where(rest > 0, _QUADS[last], first[last])
        values = rest
    return quads.view("uint8")


def _digits(values: Ints) -> Text:
    return _QUADS[np.stack(np.divmod(values, 10_000), axis=1)].view("uint8")


def _joined(parts: list[Text | bytes], length: int) -> bytes:
    columns = [np.frombuffer(part, "uint8") if isinstance(part, bytes) else part for part in parts]
    sheet = np.empty((length, sum(column.shape[-1] for column in columns)), "uint8")
    at = 0
    for column in columns:
        sheet[:, at : at + column.shape[-1]] = column
        at += column.shape[-1]
    return sheet.tobytes().translate(None, _BLANK)
