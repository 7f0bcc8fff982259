"""Field types with the contract's rules, shared by requests, queries and the command line."""

from datetime import datetime
from typing import Annotated
from zoneinfo import available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, Strict, StringConstraints, WithJsonSchema

from market_data.core.interval import INSTANT_PATTERN, Interval, parse_instant

ID_MAX = 2**31 - 1
"""Ids are PostgreSQL integers."""
INTERVAL_CHARACTERS = 40
"""More than any spelling of an interval has."""


def _isin(text: str) -> str:
    """Check the digit that ends an ISIN (ISO 6166 annex)."""
    digits = "".join(str(int(character, 36)) for character in text)
    weighted = (int(d) * (2 if i % 2 else 1) for i, d in enumerate(reversed(digits)))
    if sum(w // 10 + w % 10 for w in weighted) % 10:
        raise ValueError("its check digit is wrong")
    return text


def _zone(text: str) -> str:
    if text not in available_timezones():
        raise ValueError("is not an IANA time zone such as America/New_York")
    return text


def _no_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("contains a NUL character")
    return text


def _instant(value: object) -> object:
    if isinstance(value, str):
        return parse_instant(value)
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value
    raise ValueError("is not a time written as text: write 2024-01-02 or 2024-01-02T09:30:00Z")


def _interval(value: object) -> object:
    if isinstance(value, str) and len(value) <= INTERVAL_CHARACTERS:
        return Interval.parse(value)
    raise ValueError("is no interval: use one of " + ", ".join(Interval))


_SYMBOL = r"^[!-+\--~]{1,32}$"
_EXCHANGE = r"^[A-Za-z0-9._-]{1,16}$"
_CURRENCY = r"^[A-Z0-9]{2,12}$"
_SOURCE = r"^[a-z0-9][a-z0-9_.-]{0,31}$"
_ISIN = r"^[A-Z]{2}[A-Z0-9]{9}[0-9]$"
_FIGI = r"^[B-DF-HJ-NP-TV-Z]{2}G[B-DF-HJ-NP-TV-Z0-9]{8}[0-9]$"
_NAME = r"^[a-z0-9][a-z0-9_.-]{0,63}$"
SYMBOLS = r"^[ -~]+$"
_SYMBOL_NAME = r"^[!-+\--~]{1,64}$"
MEANING = {
    SYMBOLS: "must be symbols such as AAPL,XNAS:MSFT in printable ASCII",
    _SYMBOL: "must be 1-32 printable ASCII characters without comma or space",
    _EXCHANGE: "must be a MIC such as XNAS or a venue code: 1-16 letters, digits, dots, dashes",
    _CURRENCY: "must be a code such as USD or BTC: 2-12 capital letters and digits",
    _NAME: "must be 1-64 small letters, digits, dots and dashes, such as after-new-york",
    _SYMBOL_NAME: "must be symbol or exchange:symbol in printable ASCII without comma or space",
    _SOURCE: "must be 1-32 small letters, digits, dots and dashes, such as ecb or my-file",
    _ISIN: "must be an ISIN such as US0378331005",
    _FIGI: "must be a FIGI such as BBG000B9XRY4",
}
"""What people should write where one of these patterns was not met."""

Id = Annotated[int, Field(ge=1, le=ID_MAX)]
Flag = Annotated[bool, Strict()]
Whole = Annotated[int, Strict()]
Symbol = Annotated[
    str,
    StringConstraints(pattern=_SYMBOL),
    Field(description="As its venue writes it: 1-32 printable ASCII characters without comma or space."),
]
Exchange = Annotated[
    str,
    StringConstraints(pattern=_EXCHANGE),
    Field(description="ISO 10383 MIC or a venue code; FX for currency pairs."),
]
Currency = Annotated[
    str,
    StringConstraints(pattern=_CURRENCY),
    Field(description="ISO 4217, GBX for pence, or an asset code."),
]
Source = Annotated[
    str,
    StringConstraints(pattern=_SOURCE),
    Field(description="Provider name, `file` or `api`."),
]
Name = Annotated[str, StringConstraints(pattern=_NAME)]
SymbolName = Annotated[str, StringConstraints(pattern=_SYMBOL_NAME)]
Isin = Annotated[str, StringConstraints(pattern=_ISIN), AfterValidator(_isin)]
Figi = Annotated[str, StringConstraints(pattern=_FIGI)]
TimeZone = Annotated[str, StringConstraints(max_length=64), AfterValidator(_zone)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_no_nul)]
Instant = Annotated[
    datetime,
    BeforeValidator(_instant),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": INSTANT_PATTERN,
            "description": "RFC 3339 with an offset, or a date, which means 00:00 UTC.",
            "examples": ["2024-01-02", "2024-01-02T09:30:00-05:00"],
        }
    ),
]
IntervalText = Annotated[
    Interval,
    BeforeValidator(_interval),
    WithJsonSchema(
        {
            "type": "string",
            "minLength": 1,
            "maxLength": INTERVAL_CHARACTERS,
            "description": "1m 5m 15m 30m 1h 4h 1d 1w 1mo, or another common spelling; 1M is refused.",
            "examples": ["1d"],
        }
    ),
]
