"""Stooq: daily CSV of shares, indices and currencies, fully adjusted; since 2026 with a key.

https://stooq.com/db/h/
Prices are adjusted for splits and dividends, so history changes after every such event. Refusals are
sentences or pages with status 200; their words are those users report, none is recorded. Dates are the
exchange's own. The answer names neither symbol nor currency: only markets with a single currency are known
here, and London, futures and metals are refused. Without a key it sends a page that tells how to get one.
"""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
from pydantic_settings import SettingsConfigDict

from market_data.core.exceptions import (
    MalformedAnswer,
    ProviderAuthError,
    ProviderError,
    ProviderRateLimited,
    ProviderUnavailable,
    SymbolNotFound,
    UnsupportedRequest,
)
from market_data.core.interval import Basis, Interval
from market_data.core.vocabulary import AssetClass
from market_data.etl.answer import Answer
from market_data.etl.columns import TextTable, numbers_from_text, raw_bars, wall_times
from market_data.etl.currencies import CODES
from market_data.etl.provider import BarRequest, KeyedSettings, Listing, Page, ProviderClient, ProviderSpec
from market_data.etl.raw import RawBars

_HEADINGS = (
    ["Date", "Open", "High", "Low", "Close", "Volume"],
    ["Data", "Otwarcie", "Najwyzszy", "Najnizszy", "Zamkniecie", "Wolumen"],
)
"""Of stooq.com and stooq.pl; the last is missing where nothing is counted."""
_BEGINNING = "17000101"
_SLACK = timedelta(days=14)
"""Asked before the start: a range of holidays must not look like an unknown symbol."""


class _Market(NamedTuple):
    currency: str
    exchange: str | None
    timezone: str


_MARKETS = {
    "us": _Market("USD", None, "America/New_York"),
    "de": _Market("EUR", "XETR", "Europe/Berlin"),
    "jp": _Market("JPY", "XTKS", "Asia/Tokyo"),
    "hu": _Market("HUF", "XBUD", "Europe/Budapest"),
}
_WARSAW = _Market("PLN", "XWAR", "Europe/Warsaw")
_INDICES = {
    **dict.fromkeys(("wig", "wig20", "wig30", "mwig40", "swig80"), _WARSAW),
    **dict.fromkeys(("^dji", "^ndq", "^ndx", "^spx"), _MARKETS["us"]),
    "^dax": _MARKETS["de"],
    "^nkx": _MARKETS["jp"],
    "^bux": _MARKETS["hu"],
    "^cac": _Market("EUR", "XPAR", "Europe/Paris"),
    "^ukx": _Market("GBP", "XLON", "Europe/London"),
    "^hsi": _Market("HKD", "XHKG", "Asia/Hong_Kong"),
}

_REFUSALS: tuple[tuple[re.Pattern[str], type[ProviderError]], ...] = (
    (re.compile(r"daily hits limit|dzienny limit"), ProviderRateLimited),
    (re.compile(r"api[ _-]?key"), ProviderAuthError),
    (re.compile(r"no data|brak danych"), SymbolNotFound),
    (re.compile(r"maintenance|temporarily unavailable|przerwa techniczna"), ProviderUnavailable),
)


class StooqSettings(KeyedSettings):
    """Where to ask Stooq, and with which key."""

    model_config = SettingsConfigDict(env_prefix="STOOQ_")

    base_url: str = "https://stooq.com"


class StooqClient(ProviderClient):
    """Symbols are Stooq's own: `aapl.us`, `sap.de`, `7203.jp`, `otp.hu`, `pkn`; `^spx`, `wig20`; `eurusd`."""

    spec = ProviderSpec(
        name="stooq",
        title="Stooq",
        covers="daily bars of US, German, Japanese, Hungarian and Polish shares, indices, currency pairs",
        homepage="https://stooq.com",
        bases={Interval.D1: Basis.SPLIT_DIVIDEND},
        asset_classes=(AssetClass.EQUITY, AssetClass.INDEX, AssetClass.FX),
        requests_per_minute=20,  # and so many a day, which it does not say
        settling=timedelta(hours=6),  # nor does it say when a day is complete
        timezone=None,
    )
    Settings = StooqSettings

    async def fetch_bars(self, request: BarRequest) -> AsyncIterator[Page]:
        """Yield one page; see `ProviderClient.fetch_bars`."""
        self.require_interval(request)
        listing = self._listing(request.symbol.lower())
        answer = await self.http.get("/q/d/l/", self._params(request))
        try:
            rows = _rows(answer.body.decode("utf-8-sig"))
        except ValueError as exc:
            raise self._refusal(answer) or self.error(MalformedAnswer, f"sent no bars: {exc}") from exc
        yield Page(rows=rows, listing=listing, timezone=listing.timezone, wall_clock=True)

    def _params(self, request: BarRequest) -> dict[str, str]:
        params = {"s": request.symbol.lower(), "i": "d"}
        if request.start or request.end:
            oldest = datetime.min.replace(tzinfo=UTC) + _SLACK
            end = request.end or self.now() + timedelta(days=1)
            start = max(min(request.start, end, self.now()), oldest) - _SLACK if request.start else None
            params |= {
                "d1": f"{start.year:04}{start:%m%d}" if start else _BEGINNING,
                "d2": f"{end.year:04}{end:%m%d}",
            }
        key = self.settings.key if isinstance(self.settings, KeyedSettings) else ""
        return params | ({"apikey": key} if key else {})

    def _listing(self, symbol: str) -> Listing:
        base, quote = symbol[:3].upper(), symbol[3:].upper()
        if base in CODES and quote in CODES and base != quote:
            return Listing(symbol=base + quote, asset_class=AssetClass.FX, currency=quote, exchange="FX")
        name, dot, suffix = symbol.rpartition(".")
        market = _MARKETS.get(suffix) if name else None
        if symbol in _INDICES:
            market, name, asset_class = _INDICES[symbol], symbol, AssetClass.INDEX
        else:
            asset_class = AssetClass.EQUITY
            if not dot and re.fullmatch(r"[a-z0-9]{3}", symbol):
                market, name = _WARSAW, symbol
        if market is None:
            suffixes = ", ".join(f".{known}" for known in _MARKETS)
            text = (
                f"does not say what {symbol[:40]!r} is quoted in; known are {suffixes}, shares of Warsaw, "
                f"currency pairs, and {', '.join(_INDICES)}"
            )
            raise self.error(UnsupportedRequest, text)
        if suffix == "us":
            name = name.replace("-", ".")  # a class of shares: brk-b.us is BRK.B on its venue
        return Listing(
            symbol=name.upper(),
            asset_class=asset_class,
            currency=market.currency,
            exchange=market.exchange,
            timezone=market.timezone,
        )

    def _refusal(self, answer: Answer) -> ProviderError | None:
        text = answer.text.strip()
        words = text.lower()
        kind = next((kind for pattern, kind in _REFUSALS if pattern.search(words[:5000])), None)
        if kind is None or (kind is SymbolNotFound and words.startswith("<")):
            return None
        if kind is ProviderAuthError:
            return self.error(kind, "needs a key, or another one: set STOOQ_API_KEY")
        return self.error(kind, f"answered: {answer.excerpt}")


def _rows(text: str) -> RawBars:
    header, *lines = text.splitlines() or [""]
    names = header.split(",")
    headings = next((known for known in _HEADINGS if names in (known, known[:-1])), None)
    if headings is None:
        raise ValueError("another heading than that of daily bars")
    if not text.endswith("\n"):
        raise ValueError("the last row has no end")
    counted = len(names) == len(headings)
    # Rows of an index may end after the close.
    whole = [line + "," if counted and line.count(",") == len(names) - 2 else line for line in lines if line]
    table = TextTable("\n".join([header, *whole]))
    stamp = wall_times(table.column(headings[0]))
    if not (np.diff(stamp[0][~stamp[1]]) > np.timedelta64(0)).all():
        raise ValueError("days that repeat or go backwards")
    prices = [numbers_from_text(table.column(name)) for name in headings[1:5]]
    volume = numbers_from_text(table.column(headings[5])) if counted else None
    return raw_bars(stamp, prices, volume, table.lines.__getitem__)
