"""Twelve Data: shares, ETFs, funds, indices, currencies and crypto of the world, split-adjusted; needs a key.

https://twelvedata.com/docs#time-series
Bars come newest first and at most 5000 at once; older ones are asked by the end of their range alone, whether
or not it is included. Stamps are the exchange's wall clock at the bar's start; of pairs they are asked in
UTC. Minutes go back to 2020-02-10, longer bars further. Refusals come with status 200 or their own. One
series and one refusal are recorded; the rest follows the documentation.
"""

import math
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
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
from market_data.core.interval import Alignment, Basis, Interval
from market_data.core.vocabulary import AssetClass
from market_data.etl.answer import Answer
from market_data.etl.columns import numbers_from_text, raw_bars, wall_times
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

_LIMIT = 5000
_SLACK = timedelta(days=1)
"""Between an instant and any zone's wall clock."""
_INTERVALS = {
    Interval.M1: "1min",
    Interval.M5: "5min",
    Interval.M15: "15min",
    Interval.M30: "30min",
    Interval.H1: "1h",
    Interval.H4: "4h",
    Interval.D1: "1day",
    Interval.W1: "1week",
    Interval.MO1: "1month",
}
_CLASSES = {
    "ETF": AssetClass.ETF,
    "Exchange-Traded Note": AssetClass.ETF,
    "Index": AssetClass.INDEX,
    "Mutual Fund": AssetClass.FUND,
    "Physical Currency": AssetClass.FX,
    "Digital Currency": AssetClass.CRYPTO,
}
_SHARE = re.compile(r"stock|share|receipt|reit|trust|unit|partnership|closed-end fund", re.IGNORECASE)
_VENUES = {
    **dict.fromkeys(("XNGS", "XNMS", "XNCM", "NASDAQ"), "XNAS"),
    "NYSE": "XNYS",
}
"""Nasdaq's three tiers, and names where the MIC is left out."""
_CURRENCIES = {"GBp": "GBX", "ZAc": "ZAC"}

_Wall = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d{2}-\d{2}( \d{2}:\d{2}:\d{2})?$")]


class _Meta(msgspec.Struct):
    symbol: str
    interval: str
    type: str
    currency: str | None = None
    exchange_timezone: str | None = None
    exchange: str | None = None
    mic_code: str | None = None


class _Value(msgspec.Struct, omit_defaults=True):
    datetime: _Wall
    open: str | None
    high: str | None
    low: str | None
    close: str | None
    volume: str | None = None


class _Series(msgspec.Struct):
    meta: _Meta
    values: list[_Value]


class _Refusal(msgspec.Struct):
    code: int
    message: str


class TwelveDataSettings(KeyedSettings):
    """Where to ask Twelve Data, and with which key."""

    model_config = SettingsConfigDict(env_prefix="TWELVE_DATA_")

    base_url: str = "https://api.twelvedata.com"


class TwelveDataClient(ProviderClient):
    """Symbols are Twelve Data's own: `AAPL`, `VOD:LSE`, `EUR/USD`, `BTC/USD`."""

    spec = ProviderSpec(
        name="twelvedata",
        title="Twelve Data",
        covers="shares, ETFs, funds, indices, currency pairs and crypto of the world",
        homepage="https://twelvedata.com",
        bases=dict.fromkeys(_INTERVALS, Basis.SPLIT),
        asset_classes=(AssetClass.EQUITY, *dict.fromkeys(_CLASSES.values())),
        requests_per_minute=8,
        quotas=(Quota(800, DAY),),
        page_bars=_LIMIT,
        settling=timedelta(minutes=20),  # the delay of the slowest exchanges
        timezone=None,
        needs_key=True,
        alignment=Alignment.SESSION,
    )
    Settings = TwelveDataSettings

    async def fetch_bars(self, request: BarRequest) -> AsyncIterator[Page]:
        """Yield pages of 5000 bars, newest first, or one without rows; see `ProviderClient.fetch_bars`."""
        self.require_interval(request)
        interval, size = request.interval, self._size(request)
        oldest = _wall(interval.floor_instant(request.start) - _SLACK) if request.start else ""
        until = _wall(interval.ceil_instant(request.end) + _SLACK) if request.end else None
        last: str | None = None
        while True:
            try:
                series = await self._series(request, size, until, last)
            except SymbolNotFound:
                if last is None:
                    raise
                return  # nothing lies before the last page
            older = [value for value in series.values if value.datetime != last]
            if older or last is None:
                yield self._page(request, series.meta, older)
            if not older:
                return
            until = last = older[-1].datetime
            if size == 1 or len(series.values) < size or last < oldest:
                return

    def _size(self, request: BarRequest) -> int:
        """Return how many bars there may be from the start to the end, or to now; one of an empty range."""
        if request.start is None:
            return _LIMIT
        if request.start >= (request.end or self.now() + _SLACK):
            return 1
        end = min(request.end or self.now(), self.now())
        span = max(end - request.start, timedelta(0)) + 4 * _SLACK
        return min(math.ceil(span / request.interval.duration) + 2, _LIMIT)

    async def _series(self, request: BarRequest, size: int, until: str | None, last: str | None) -> _Series:
        params: dict[str, str | int] = {
            "symbol": request.symbol,
            "interval": _INTERVALS[request.interval],
            "outputsize": size,
            "order": "desc",
            "adjust": "splits",
            "format": "JSON",
        }
        params |= {"end_date": until} if until else {}
        params |= {"timezone": "UTC"} if "/" in request.symbol else {}
        key = self.settings.key if isinstance(self.settings, KeyedSettings) else ""
        headers = {"Authorization": f"apikey {key}"}
        answer = await self.http.get("/time_series", params, headers=headers, explain=self._explain)
        try:
            series = msgspec.json.decode(answer.body, type=_Series)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise self._explain(answer) or self.error(MalformedAnswer, f"sent no series: {exc}") from exc
        self._check(request, series, last)
        return series

    def _check(self, request: BarRequest, series: _Series, last: str | None) -> None:
        meta, stamps = series.meta, [value.datetime for value in series.values]
        if meta.symbol.upper() != request.symbol.partition(":")[0].upper():
            text = f"{meta.symbol[:40]!r} came for {request.symbol[:40]!r}"
        elif meta.interval != _INTERVALS[request.interval]:
            text = f"{meta.interval[:40]!r} bars came for {request.interval}"
        elif any(later > earlier for earlier, later in pairwise([*([last] if last else []), *stamps])):
            text = "sent bars that go forwards, or a page that was had before"
        else:
            return
        raise self.error(MalformedAnswer, text)

    def _page(self, request: BarRequest, meta: _Meta, values: list[_Value]) -> Page:
        try:
            zone = "UTC" if "/" in request.symbol else ZoneInfo(meta.exchange_timezone or "").key
            listing = _listing(meta, zone)
        except (ValueError, ZoneInfoNotFoundError) as exc:
            raise self.error(MalformedAnswer, f"sent a series of unknown kind: {exc}") from exc
        return Page(rows=_rows(values), listing=listing, timezone=zone, wall_clock=True)

    def _explain(self, answer: Answer) -> ProviderError | None:
        try:
            refusal = msgspec.json.decode(answer.body, type=_Refusal)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        text = f"{refusal.message[:300]} ({refusal.code})"
        kind = _kind(refusal.code, refusal.message.lower())
        if kind is not ProviderRateLimited:
            return self.error(kind, text)
        after = answer.retry_after
        if after is None and "current minute" in text:
            after = 60.0  # "Wait for the next minute"
        return ProviderRateLimited(self.spec.name, self.http.redact(text), after)


def _kind(code: int, text: str) -> type[ProviderError]:
    """https://twelvedata.com/docs#errors."""
    if code == 429:
        return ProviderRateLimited
    if code in {401, 403} or re.search(r"\bapikey\b|pricing|upgrad|available (starting|exclusively)", text):
        return ProviderAuthError
    missing = "not found" in text or "no data is available" in text or "symbol" in text
    if code == 404 or (code == 400 and missing):
        return SymbolNotFound
    return ProviderUnavailable if code >= 500 else UnsupportedRequest


def _wall(instant: datetime) -> str:
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "seconds")


def _listing(meta: _Meta, zone: str) -> Listing:
    asset_class = _CLASSES.get(meta.type) or (AssetClass.EQUITY if _SHARE.search(meta.type) else None)
    if asset_class is None:
        raise ValueError(f"type {meta.type[:40]!r}")
    base, slash, quote = meta.symbol.partition("/")
    currency = quote if slash else meta.currency
    if not currency:
        raise ValueError("prices without a currency")
    venue = meta.mic_code or (meta.exchange if meta.exchange in _VENUES else None)
    if slash:
        venue = "FX" if asset_class is AssetClass.FX else None
    return Listing(
        symbol=base + quote,
        asset_class=asset_class,
        currency=_CURRENCIES.get(currency, currency),
        exchange=_VENUES.get(venue, venue) if venue else None,
        timezone=zone,
    )


def _rows(values: list[_Value]) -> RawBars:
    columns = [[getattr(one, name) for one in values] for name in ("open", "high", "low", "close", "volume")]
    *prices, volume = (numbers_from_text(column) for column in columns)

    def text(row: int) -> str:
        return msgspec.json.encode(values[row]).decode()

    return raw_bars(wall_times([value.datetime for value in values]), prices, volume, text)
