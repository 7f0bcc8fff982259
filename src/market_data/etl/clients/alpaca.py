"""Alpaca: bars of US shares and ETFs as traded, since 2016; needs a key and its secret.

https://docs.alpaca.markets/reference/stockbars
Stamps are UTC at the start; days start at midnight in New York. Both ends of a range are included. The
consolidated feed `sip` is free once it is 15 minutes old, so that the newest bars come 16 minutes late;
`ALPACA_FEED=iex` has no delay, but is one exchange of many and a few percent of the volume. Weeks and months
are left out, because no recording shows where they start. Bars are recorded; refusals follow users' reports.
"""

import re
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Annotated, Literal, cast

import msgspec
from pydantic import Field, SecretStr
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
from market_data.etl.columns import no_bars, numbers, raw_bars, wall_times
from market_data.etl.provider import BarRequest, KeyedSettings, Listing, Page, ProviderClient, ProviderSpec
from market_data.etl.raw import RawBars

_LIMIT = 10_000
_EMPTY_PAGES = 100
"""Pages without bars in a row that are still believed to lead somewhere."""
_BEGINNING = datetime.fromisoformat("2016-01-01T00:00:00+00:00")
_DELAY = timedelta(minutes=16)
_INTERVALS = {
    Interval.M1: "1Min",
    Interval.M5: "5Min",
    Interval.M15: "15Min",
    Interval.M30: "30Min",
    Interval.H1: "1Hour",
    Interval.D1: "1Day",
}
_NEW_YORK = "America/New_York"

_Utc = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$")]
_Params = dict[str, str | int]


class _Bar(msgspec.Struct):
    t: _Utc
    o: float
    h: float
    l: float  # noqa: E741 - the vendor's name
    c: float
    v: float


class _Bars(msgspec.Struct):
    bars: dict[str, list[msgspec.Raw]] | None
    next_page_token: str | None


class _Refusal(msgspec.Struct):
    message: str


class AlpacaSettings(KeyedSettings):
    """Where to ask Alpaca, with which keys, and for which feed."""

    model_config = SettingsConfigDict(env_prefix="ALPACA_")

    base_url: str = "https://data.alpaca.markets"
    api_secret: SecretStr | None = Field(default=None, description="Secret that belongs to the key.")
    feed: Literal["sip", "iex", "otc"] = Field(
        default="sip", description="All exchanges with a delay, IEX alone, or over the counter."
    )


class AlpacaClient(ProviderClient):
    """Symbols are tickers such as `AAPL` and `BRK.B`. `ALPACA_API_SECRET` is needed beside the key.

    Bars of all feeds are filed under one source: choose the feed once.
    """

    spec = ProviderSpec(
        name="alpaca",
        title="Alpaca",
        covers="US shares and ETFs as traded since 2016, all exchanges or IEX alone",
        homepage="https://alpaca.markets",
        bases=dict.fromkeys(_INTERVALS, Basis.RAW),
        asset_classes=(AssetClass.EQUITY,),
        requests_per_minute=200,  # https://docs.alpaca.markets/docs/about-market-data-api
        page_bars=_LIMIT,
        settling=_DELAY,
        timezone=None,
        needs_key=True,
    )
    Settings = AlpacaSettings

    async def fetch_bars(self, request: BarRequest) -> AsyncIterator[Page]:
        """Yield pages of 10000 bars, oldest first; see `ProviderClient.fetch_bars`."""
        self.require_interval(request)
        symbol = request.symbol.upper()
        if not re.fullmatch(r"[A-Z0-9.\-]{1,32}", symbol):
            raise self.error(UnsupportedRequest, f"{symbol[:40]!r} is no ticker such as AAPL or BRK.B")
        listing = Listing(symbol=symbol, asset_class=AssetClass.EQUITY, currency="USD", timezone=_NEW_YORK)
        start, end = self._range(request)
        if start >= end:
            await self._require(request, symbol, self.now() - _DELAY)
            yield Page(rows=no_bars(), listing=listing, timezone=_NEW_YORK)
            return
        params = self._params(request, symbol) | {"start": _text(start), "end": _until(end), "sort": "asc"}
        last, empty, seen = "", 0, set[str]()
        while True:
            found, texts, token = await self._page(params, last)
            if found:
                yield Page(rows=_rows(found, texts), listing=listing, timezone=_NEW_YORK)
                last, empty = found[-1].t, 0
            else:
                empty += 1
            if token is None or last > str(params["end"]):
                break
            if token in seen or empty > _EMPTY_PAGES:
                raise self.error(MalformedAnswer, "leads from page to page without an end")
            seen.add(token)
            params["page_token"] = token
        if not last:
            await self._require(request, symbol, end)
            yield Page(rows=no_bars(), listing=listing, timezone=_NEW_YORK)

    def _range(self, request: BarRequest) -> tuple[datetime, datetime]:
        """Return the range of whole bars that may be asked, with its end left out."""
        interval, now = request.interval, self.now()
        newest = now - _DELAY if self._settings.feed == "sip" else now
        start = interval.floor_instant(request.start) if request.start else _BEGINNING
        if interval.is_intraday:
            newest = interval.floor_instant(newest)  # a bar must not be cut by the delay
        end = interval.ceil_instant(request.end) if request.end else newest
        # Days start at New York's midnight, hours after the one in UTC.
        return start, min(end if interval.is_intraday else end + timedelta(days=1), newest)

    @property
    def _settings(self) -> AlpacaSettings:
        return cast("AlpacaSettings", self.settings)

    def _params(self, request: BarRequest, symbol: str) -> _Params:
        return {
            "symbols": symbol,
            "timeframe": _INTERVALS[request.interval],
            "limit": _LIMIT,
            "adjustment": "raw",
            "feed": self._settings.feed,
        }

    async def _page(self, params: _Params, last: str) -> tuple[list[_Bar], list[msgspec.Raw], str | None]:
        settings, symbol = self._settings, params["symbols"]
        headers = {"APCA-API-KEY-ID": settings.key}
        if settings.api_secret:
            headers["APCA-API-SECRET-KEY"] = settings.api_secret.get_secret_value().strip()
        answer = await self.http.get("/v2/stocks/bars", params, headers=headers, explain=self._explain)
        try:
            page = msgspec.json.decode(answer.body, type=_Bars)
            texts = [text for bars in (page.bars or {}).values() for text in bars]
            found = msgspec.json.decode(b"[" + b",".join(texts) + b"]", type=list[_Bar])
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise self.error(MalformedAnswer, f"sent no bars: {exc}") from exc
        if others := ", ".join(name[:40] for name in page.bars or {} if name != symbol):
            raise self.error(MalformedAnswer, f"{others[:80]} came for {symbol}")
        if params["sort"] == "asc" and any(
            later <= earlier for earlier, later in pairwise([last, *(bar.t for bar in found)])
        ):
            raise self.error(MalformedAnswer, "sent bars that repeat or go backwards")
        return found, texts, page.next_page_token or None

    async def _require(self, request: BarRequest, symbol: str, end: datetime) -> None:
        """Tell a symbol without bars in a range from one that has none at all."""
        params = self._params(request, symbol) | {"start": _text(_BEGINNING), "end": _until(end)}
        found, *_ = await self._page(params | {"sort": "desc", "limit": 1}, "")
        if not found:
            raise self.error(SymbolNotFound, f"has no bars of {symbol}")

    def _explain(self, answer: Answer) -> ProviderError | None:
        try:
            said = msgspec.json.decode(answer.body, type=_Refusal).message[:300]
        except (msgspec.DecodeError, UnicodeDecodeError):
            said = answer.excerpt
        text = f"answered {answer.status}: {said}"
        if answer.status == 429:
            after = answer.retry_after
            reset = answer.headers.get("x-ratelimit-reset", "")
            if after is None and re.fullmatch(r"\d{1,12}", reset):
                after = max(int(reset) - self.now().timestamp(), 0.0)
            return ProviderRateLimited(self.spec.name, self.http.redact(text), after)
        if answer.status in {401, 403} or "subscription" in text:
            hint = "" if self._settings.api_secret else "; ALPACA_API_SECRET is not set"
            if "subscription" in text:
                hint = "; choose another ALPACA_FEED"
            return self.error(ProviderAuthError, text + hint)
        return self.error(SymbolNotFound, text) if "invalid symbol" in text else None


def _text(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}"


def _until(end: datetime) -> str:
    return _text(end - timedelta(seconds=1))


def _rows(bars: list[_Bar], texts: list[msgspec.Raw]) -> RawBars:
    columns = [[getattr(bar, name) for bar in bars] for name in "ohlcv"]
    *prices, volume = (numbers(column, len(bars)) for column in columns)

    def text(row: int) -> str:
        return bytes(texts[row]).decode("utf-8", "replace")

    return raw_bars(wall_times([f"{bar.t[:10]} {bar.t[11:19]}" for bar in bars]), prices, volume, text)
