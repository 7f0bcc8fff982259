"""Polygon, now Massive: aggregates of US shares, currency pairs and crypto, as traded; needs a key.

https://massive.com/docs/rest/stocks/aggregates/custom-bars
Stamps are UTC at the start; days start at midnight in New York. Both ends of a range are included, and a page
says where the next one is: its path and cursor are followed on the server that is set, never to another.
Weeks and months are left out, because no recording shows where they start; indices and options, because no
currency is said. Ranges before a plan's history are refused. One page of days is recorded; refusals and
further pages follow the documentation and users' reports.
"""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Annotated
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import msgspec
from pydantic_settings import SettingsConfigDict

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
from market_data.etl.answer import Answer
from market_data.etl.columns import epochs, no_bars, numbers, raw_bars
from market_data.etl.currencies import CODES
from market_data.etl.provider import BarRequest, KeyedSettings, Listing, Page, ProviderClient, ProviderSpec
from market_data.etl.raw import RawBars

_LIMIT = 50_000
"""Of minutes or days that go into a page, not of its bars."""
_EMPTY_PAGES = 100
"""Pages without bars in a row that are still believed to lead somewhere."""
_BEGINNING = datetime.fromisoformat("2003-09-10T00:00:00+00:00")
_INTERVALS = {
    Interval.M1: "1/minute",
    Interval.M5: "5/minute",
    Interval.M15: "15/minute",
    Interval.M30: "30/minute",
    Interval.H1: "1/hour",
    Interval.D1: "1/day",
}
_NEW_YORK = "America/New_York"

_Millis = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999)]


class _Bar(msgspec.Struct):
    t: _Millis
    o: float
    h: float
    l: float  # noqa: E741 - the vendor's name
    c: float
    v: float | None = None


class _Aggregates(msgspec.Struct):
    status: str
    ticker: str
    adjusted: bool
    results_count: int = msgspec.field(name="resultsCount")
    results: list[msgspec.Raw] = msgspec.field(default_factory=list)
    next_url: str | None = None


class _Refusal(msgspec.Struct):
    status: str
    error: str = ""
    message: str = ""


class PolygonSettings(KeyedSettings):
    """Where to ask Polygon, and with which key."""

    model_config = SettingsConfigDict(env_prefix="POLYGON_")

    base_url: str = "https://api.polygon.io"


class PolygonClient(ProviderClient):
    """Symbols are Polygon's own, with their case: `AAPL`, `BRK.A`, `KIMpL`, `C:EURUSD`, `X:BTCUSD`."""

    spec = ProviderSpec(
        name="polygon",
        title="Polygon",
        covers="US shares and ETFs since 2003, currency pairs, crypto; how far back depends on the plan",
        homepage="https://massive.com",
        bases=dict.fromkeys(_INTERVALS, Basis.RAW),
        asset_classes=(AssetClass.EQUITY, AssetClass.FX, AssetClass.CRYPTO),
        requests_per_minute=5,
        page_bars=_LIMIT,  # fewer of longer bars: each is made of its minutes
        # Plans are delayed by 15 minutes, and trades may be reported 15 minutes late.
        settling=timedelta(minutes=30),
        timezone=None,
        needs_key=True,
    )
    Settings = PolygonSettings

    async def fetch_bars(self, request: BarRequest) -> AsyncIterator[Page]:
        """Yield pages, oldest first, or one without rows; see `ProviderClient.fetch_bars`."""
        self.require_interval(request)
        listing = self._listing(request.symbol)
        now = self.now()
        # A range that begins in the future is refused as if the plan did not include it.
        start, end = request.start or _BEGINNING, min(request.end or now, now)
        if start >= end:
            await self._require(request.symbol)
            yield Page(rows=no_bars(), listing=listing, timezone=listing.timezone)
            return
        path, params = _first(request, start, end)
        last, empty, seen = -1, 0, {path}
        while True:
            found, bars = await self._aggregates(request, path, params, last)
            if bars:
                rows = _rows(bars, found.results)
                yield Page(rows=rows, listing=listing, timezone=listing.timezone)
                last, empty = bars[-1].t, 0
            else:
                empty += 1
            if found.next_url is None or last >= end.timestamp() * 1000:
                break
            if found.next_url in seen or empty > _EMPTY_PAGES:
                raise self.error(MalformedAnswer, "leads from page to page without an end")
            seen.add(found.next_url)
            path, params = self._following(request, found.next_url)
        if last < 0:
            await self._require(request.symbol)
            yield Page(rows=no_bars(), listing=listing, timezone=listing.timezone)

    def _following(self, request: BarRequest, url: str) -> tuple[str, dict[str, str]]:
        parts = urlsplit(url)
        if not unquote(parts.path).startswith(f"{_series(request)}/"):
            raise self.error(MalformedAnswer, "names a next page of something else")
        params = dict(parse_qsl(parts.query))
        return parts.path, {name: value for name, value in params.items() if name.lower() != "apikey"}

    async def _aggregates(
        self, request: BarRequest, path: str, params: dict[str, str], last: int
    ) -> tuple[_Aggregates, list[_Bar]]:
        answer = await self._get(path, params)
        try:
            found = msgspec.json.decode(answer.body, type=_Aggregates)
            bars = msgspec.json.decode(b"[" + b",".join(found.results) + b"]", type=list[_Bar])
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise self._refusal(answer) or self.error(MalformedAnswer, f"sent no aggregates: {exc}") from exc
        stamps = [last, *(bar.t for bar in bars)]
        if found.status not in {"OK", "DELAYED"}:
            raise self._refusal(answer) or self.error(MalformedAnswer, f"is in state {found.status[:40]!r}")
        if found.ticker != request.symbol:
            text = f"{found.ticker[:40]!r} came for {request.symbol[:40]!r}"
        elif found.adjusted:
            text = "sent adjusted prices where those as traded were asked"
        elif found.results_count != len(bars):
            text = f"sent {len(bars)} bars of {found.results_count}"
        elif any(later <= earlier for earlier, later in pairwise(stamps)):
            text = "sent bars that repeat or go backwards"
        else:
            return found, bars
        raise self.error(MalformedAnswer, text)

    async def _require(self, symbol: str) -> None:
        """Tell a symbol without bars in a range from one that does not exist."""
        answer = await self._get(f"/v3/reference/tickers/{quote(symbol, safe=':')}", {})
        if refused := self._refusal(answer):
            raise refused

    async def _get(self, path: str, params: dict[str, str]) -> Answer:
        key = self.settings.key if isinstance(self.settings, KeyedSettings) else ""
        return await self.http.get(path, params, headers={"Authorization": f"Bearer {key}"})

    def _refusal(self, answer: Answer) -> ProviderError | None:
        """Read a refusal that came with status 200."""
        try:
            refusal = msgspec.json.decode(answer.body, type=_Refusal)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        text = f"{refusal.status[:40]}: {(refusal.error or refusal.message)[:300]}"
        words = text.lower()
        if "maximum requests" in words:
            return ProviderRateLimited(self.spec.name, self.http.redact(text), answer.retry_after)
        if "authorized" in words or "api key" in words or "entitled" in words:
            return self.error(ProviderAuthError, text)
        if "not_found" in words or "not found" in words:
            return self.error(SymbolNotFound, text)
        return None

    def _listing(self, symbol: str) -> Listing:
        market, colon, name = symbol.rpartition(":")
        base, currency = name[:-3], name[-3:]
        if not colon:
            return Listing(symbol=symbol, asset_class=AssetClass.EQUITY, currency="USD", timezone=_NEW_YORK)
        if market == "C" and base in CODES and currency in CODES:
            return Listing(symbol=name, asset_class=AssetClass.FX, currency=currency, exchange="FX")
        if market == "X" and base and currency in CODES:
            return Listing(symbol=name, asset_class=AssetClass.CRYPTO, currency=currency)
        text = f"{symbol[:40]!r} is no share, and no pair such as C:EURUSD or X:BTCUSD"
        raise self.error(UnsupportedRequest, text)


def _series(request: BarRequest) -> str:
    return f"/v2/aggs/ticker/{request.symbol}/range/{_INTERVALS[request.interval]}"


def _first(request: BarRequest, start: datetime, end: datetime) -> tuple[str, dict[str, str]]:
    """Ask for whole bars: of days by their dates, of minutes and hours by instants."""
    interval = request.interval
    first = interval.floor_instant(start)
    last = interval.ceil_instant(end) - timedelta(milliseconds=1)
    if interval.is_intraday:
        span = "/".join(str(round(instant.timestamp() * 1000)) for instant in (first, last))
    else:
        span = f"{first.date()}/{last.date()}"
    path = f"{quote(_series(request), safe='/:')}/{span}"
    return path, {"adjusted": "false", "sort": "asc", "limit": str(_LIMIT)}


def _rows(bars: list[_Bar], texts: list[msgspec.Raw]) -> RawBars:
    columns = [[getattr(bar, name) for bar in bars] for name in "ohlcv"]
    *prices, volume = (numbers(column, len(bars)) for column in columns)

    def text(row: int) -> str:
        return bytes(texts[row]).decode("utf-8", "replace")

    return raw_bars(epochs([bar.t for bar in bars], "ms"), prices, volume, text)
