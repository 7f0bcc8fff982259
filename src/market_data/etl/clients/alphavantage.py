"""Alpha Vantage: shares (raw, as traded), currencies, crypto; needs a key, free for 25 requests a day.

https://www.alphavantage.co/documentation/
Refusals come with status 200 and as JSON even where CSV was asked. Shares are stamped in New York's wall
clock, currencies and crypto in UTC; intraday by the bar's start, weeks and months by their last trading day.
"""

import csv
import io
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import numpy as np
from pydantic import AliasChoices, Field
from pydantic_settings import SettingsConfigDict

from market_data.core.bars import PRICES
from market_data.core.exceptions import (
    MalformedAnswer,
    ProviderAuthError,
    ProviderError,
    ProviderRateLimited,
    SymbolNotFound,
    UnsupportedRequest,
)
from market_data.core.interval import Basis, Interval
from market_data.core.vocabulary import AssetClass
from market_data.etl.columns import Flags, TextTable, Times, numbers_from_text, raw_bars, wall_times
from market_data.etl.currencies import CODES
from market_data.etl.provider import (
    DAY,
    BarRequest,
    KeyedSettings,
    Listing,
    Page,
    ProviderClient,
    ProviderSpec,
    Quota,
)
from market_data.etl.raw import RawBars

_NEW_YORK = "America/New_York"
_COMPACT = 100
"""Bars of a compact answer."""
_TRAILING = timedelta(days=29)
"""What a full intraday answer without `month` surely reaches back."""

_MINUTES = {
    Interval.M1: "1min",
    Interval.M5: "5min",
    Interval.M15: "15min",
    Interval.M30: "30min",
    Interval.H1: "60min",
}
_PERIODS = {Interval.D1: "DAILY", Interval.W1: "WEEKLY", Interval.MO1: "MONTHLY"}
_FUNCTIONS = {
    AssetClass.EQUITY: ("TIME_SERIES_INTRADAY", "TIME_SERIES"),
    AssetClass.ETF: ("TIME_SERIES_INTRADAY", "TIME_SERIES"),
    AssetClass.FX: ("FX_INTRADAY", "FX"),
    AssetClass.CRYPTO: ("CRYPTO_INTRADAY", "DIGITAL_CURRENCY"),
}
_VENUES = {
    "LON": ("XLON", "Europe/London"),
    "TRT": ("XTSE", "America/Toronto"),
    "TRV": ("XTSX", "America/Toronto"),
    "DEX": ("XETR", "Europe/Berlin"),
    "FRK": ("XFRA", "Europe/Berlin"),
    "BSE": ("XBOM", "Asia/Kolkata"),
    "SHH": ("XSHG", "Asia/Shanghai"),
    "SHZ": ("XSHE", "Asia/Shanghai"),
}
"""Suffixes the documentation names, with MIC and zone; the currency comes from SYMBOL_SEARCH."""


@dataclass(frozen=True, slots=True)
class _Subject:
    listing: Listing
    params: Mapping[str, str]
    named: Mapping[str, str]
    """What JSON answers must repeat under Meta Data."""
    zone: str


class AlphaVantageSettings(KeyedSettings):
    """Where to ask Alpha Vantage, and with which key."""

    model_config = SettingsConfigDict(env_prefix="ALPHA_VANTAGE_")

    base_url: str = Field(
        default="https://www.alphavantage.co",
        validation_alias=AliasChoices("ALPHA_VANTAGE_BASE_URL", "ALPHAVANTAGE_BASE_URL"),
    )


class AlphaVantageClient(ProviderClient):
    """Symbols are `IBM`, `TSCO.LON`; `EURUSD` or `EUR/USD`; and `BTC/EUR` for crypto."""

    spec = ProviderSpec(
        name="alphavantage",
        title="Alpha Vantage",
        covers="US and some foreign shares as traded since 1999, currency pairs, crypto against currencies",
        homepage="https://www.alphavantage.co",
        bases=dict.fromkeys((*_MINUTES, *_PERIODS), Basis.RAW),
        asset_classes=tuple(_FUNCTIONS),
        requests_per_minute=60,
        quotas=(Quota(25, DAY),),  # of a free key, by its refusals
        settling=timedelta(days=1),  # without an entitlement, minutes of shares come when the day is over
        timezone=None,
        needs_key=True,
    )
    Settings = AlphaVantageSettings

    async def fetch_bars(self, request: BarRequest) -> AsyncIterator[Page]:
        """Yield one page, or one a month for older intraday bars; see `ProviderClient.fetch_bars`."""
        self.require_interval(request)
        subject = await self._subject(request.symbol)
        for params in self._queries(request, subject.listing.asset_class):
            body = await self._ask({**params, **subject.params})
            try:
                page = _page(request.interval, subject, body)
            except (ValueError, KeyError, ZoneInfoNotFoundError) as exc:
                raise self.error(MalformedAnswer, f"sent no bars: {exc}") from exc
            yield page

    async def _ask(self, params: Mapping[str, str]) -> str:
        key = self.settings.key if isinstance(self.settings, KeyedSettings) else ""
        answer = await self.http.get("/query", {**params, "datatype": "csv", "apikey": key})
        if refused := self._refusal(answer.text):
            raise refused
        return answer.text

    def _refusal(self, body: str) -> ProviderError | None:
        try:
            document = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if document == {}:
            return self.error(SymbolNotFound, "has nothing under this symbol")
        if not isinstance(document, dict) or "Meta Data" in document:
            return None
        for name in ("Error Message", "Note", "Information"):
            if isinstance(text := document.get(name), str):
                return self.error(_kind(text.lower()), text[:500])
        return None

    async def _subject(self, symbol: str) -> _Subject:
        base, slash, quote = symbol.partition("/") if "/" in symbol else (symbol[:3], "", symbol[3:])
        if base in CODES and quote in CODES:
            return _Subject(
                Listing(symbol=base + quote, asset_class=AssetClass.FX, currency=quote, exchange="FX"),
                {"from_symbol": base, "to_symbol": quote},
                {"From Symbol": base, "To Symbol": quote},
                "UTC",
            )
        if not slash:
            listing = await self._listing(symbol)
            return _Subject(listing, {"symbol": symbol}, {"Symbol": symbol}, _NEW_YORK)
        if quote not in CODES or not re.fullmatch(r"[A-Z0-9]{1,12}", base):
            text = (
                f"{symbol[:40]!r} is no pair: write EUR/USD, or BTC/EUR with an ISO currency behind the slash"
            )
            raise self.error(UnsupportedRequest, text)
        return _Subject(
            Listing(symbol=base + quote, asset_class=AssetClass.CRYPTO, currency=quote),
            {"symbol": base, "market": quote},
            {"Digital Currency Code": base, "Market Code": quote},
            "UTC",
        )

    async def _listing(self, symbol: str) -> Listing:
        name, _, suffix = symbol.rpartition(".")
        if not name or len(suffix) == 1:
            return Listing(symbol=symbol, asset_class=AssetClass.EQUITY, currency="USD", timezone=_NEW_YORK)
        if suffix not in _VENUES:
            text = f"{symbol[:40]!r}: of foreign suffixes only {', '.join(_VENUES)} are known"
            raise self.error(UnsupportedRequest, text)
        found = await self._ask({"function": "SYMBOL_SEARCH", "keywords": symbol})
        match = next((row for row in _matches(found) if row.get("symbol") == symbol), {})
        if not match.get("currency"):
            raise self.error(SymbolNotFound, f"its search does not know {symbol[:40]!r}")
        exchange, zone = _VENUES[suffix]
        return Listing(
            symbol=name,
            asset_class=AssetClass.ETF if match.get("type") == "ETF" else AssetClass.EQUITY,
            currency=match["currency"],
            exchange=exchange,
            name=match.get("name") or None,
            timezone=zone,
        )

    def _queries(self, request: BarRequest, asset_class: AssetClass) -> list[dict[str, str]]:
        interval, start, now = request.interval, request.start, self.now()
        intraday, periodic = _FUNCTIONS[asset_class]
        if interval in _PERIODS:
            params = {"function": f"{periodic}_{_PERIODS[interval]}"}
            if interval is not Interval.D1 or asset_class is AssetClass.CRYPTO:
                return [params]
            # A hundred trading days are at least 138 days; full answers are for paying users.
            recent = start is not None and now - start < timedelta(days=130)
            return [params | {"outputsize": "compact" if recent else "full"}]
        params = {"function": intraday, "interval": _MINUTES[interval]}
        recent = start is not None and now - start < interval.duration * (_COMPACT - 1)
        params["outputsize"] = "compact" if recent else "full"
        if asset_class in {AssetClass.FX, AssetClass.CRYPTO}:
            return [params]
        params |= {"adjusted": "false", "extended_hours": "true"}
        if start is None or now - start < _TRAILING:
            return [params]
        end = min(request.end or now, now)
        return [params | {"month": month} for month in _months(start, end)]


def _kind(text: str) -> type[ProviderError]:
    # Limits come first: their texts also praise the premium plans.
    if re.search("rate limit|call frequency|requests per|calls per|sparingly", text):
        return ProviderRateLimited
    if any(word in text for word in ("apikey", "api key", "premium", "demo")):
        return ProviderAuthError
    return SymbolNotFound if "invalid api call" in text else MalformedAnswer


def _matches(body: str) -> list[dict[str, str]]:
    if not body.lstrip().startswith("{"):
        return list(csv.DictReader(io.StringIO(body)))
    try:
        found = msgspec.json.decode(body, type=dict[str, list[dict[str, str]]])
    except msgspec.DecodeError:
        return []
    return [_unnumbered(row) for row in found.get("bestMatches", [])]


def _months(start: datetime, end: datetime) -> list[str]:
    zone = ZoneInfo(_NEW_YORK)
    first, last = (np.datetime64(f"{bound.astimezone(zone):%Y-%m}") for bound in (start, end))
    return [str(month) for month in np.arange(first, max(first, last) + 1)]


def _unnumbered(row: Mapping[str, Any]) -> dict[str, Any]:
    return {re.sub(r"^\d+[a-z]?\. ", "", name): value for name, value in row.items()}


def _page(interval: Interval, subject: _Subject, body: str) -> Page:
    zone = subject.zone
    if body.lstrip().startswith("{"):
        document = msgspec.json.decode(body, type=dict[str, Any])
        meta = msgspec.convert(_unnumbered(document["Meta Data"]), dict[str, str])
        expected = dict(subject.named) | ({"Interval": _MINUTES[interval]} if interval in _MINUTES else {})
        for name, value in expected.items():
            if meta.get(name, value).upper() != value.upper():
                raise ValueError(f"{name} is {meta[name][:40]!r} where {value[:40]!r} was asked")
        zone = meta.get("Time Zone", zone)
        zone = ZoneInfo(_NEW_YORK if zone == "US/Eastern" else zone).key
        rows = _from_json(document, interval, subject)
    else:
        rows = _from_csv(body, interval, subject)
    return Page(rows=rows, listing=subject.listing, timezone=zone, wall_clock=True)


def _from_csv(body: str, interval: Interval, subject: _Subject) -> RawBars:
    table = TextTable(body)
    stamp = wall_times(table.column("timestamp"))
    prices = [numbers_from_text(table.column(name)) for name in PRICES]
    volume = numbers_from_text(table.column("volume")) if "volume" in table.names else None
    return raw_bars(stamp, prices, volume, table.lines.__getitem__, _running(stamp, interval, subject))


def _from_json(document: Mapping[str, Any], interval: Interval, subject: _Subject) -> RawBars:
    (found,) = (value for name, value in document.items() if "Time Series" in name)
    series = msgspec.convert(found, dict[str, dict[str, str]])
    stamps, bars = list(series), [_unnumbered(bar) for bar in series.values()]
    if not all({*PRICES} <= bar.keys() for bar in bars):
        raise ValueError("bars without open, high, low or close")
    stamp = wall_times(stamps)
    prices = [numbers_from_text([bar[name] for bar in bars]) for name in PRICES]
    volume = numbers_from_text([bar.get("volume") for bar in bars])

    def text(row: int) -> str:
        return msgspec.json.encode({stamps[row]: series[stamps[row]]}).decode()

    return raw_bars(stamp, prices, volume, text, _running(stamp, interval, subject))


def _running(stamp: Times, interval: Interval, subject: _Subject) -> Flags:
    """Mark the newest week or month if its last trading day so far is not the period's last."""
    running = np.zeros(len(stamp[0]), "bool")
    readable = stamp[0][~stamp[1]]
    if interval not in {Interval.W1, Interval.MO1} or not len(readable):
        return running
    newest = readable.max()
    end = interval.end(interval.floor(np.array([newest])))[0]
    last: date = end.astype("datetime64[D]").item() - timedelta(1)
    if subject.listing.asset_class is not AssetClass.CRYPTO:
        last -= timedelta(max(last.weekday() - 4, 0))
    running[stamp[0] == newest] = newest.astype("datetime64[D]").item() < last
    return running
