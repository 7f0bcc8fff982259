"""Binance spot klines: UTC bars of every pair on its spot market since the pair was listed, without a key.

https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints#klinecandlestick-data
"""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Annotated

import msgspec
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
from market_data.etl.columns import epochs, numbers_from_text, raw_bars
from market_data.etl.pairs import quote_asset
from market_data.etl.provider import BarRequest, Listing, Page, ProviderClient, ProviderSettings, ProviderSpec
from market_data.etl.raw import RawBars

_LIMIT = 1000
_INTERVALS = {
    Interval.M1: "1m",
    Interval.M5: "5m",
    Interval.M15: "15m",
    Interval.M30: "30m",
    Interval.H1: "1h",
    Interval.H4: "4h",
    Interval.D1: "1d",
    Interval.W1: "1w",
    Interval.MO1: "1M",
}
_Millis = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999)]
_Kline = tuple[_Millis, str, str, str, str, str, int, str, int, str, str, str]
"""Open time, o, h, l, c, volume, close time, quote volume, trades, taker base and quote volume, unused."""


class _Refusal(msgspec.Struct):
    code: int
    msg: str = ""


class BinanceSettings(ProviderSettings):
    """Where to ask Binance."""

    model_config = SettingsConfigDict(env_prefix="BINANCE_")

    base_url: str = "https://api.binance.com"


class BinanceClient(ProviderClient):
    """Binance spot market, paged forward by open time."""

    spec = ProviderSpec(
        name="binance",
        title="Binance",
        covers="every pair of the Binance spot market, since its listing (from 2017)",
        homepage="https://www.binance.com",
        bases=dict.fromkeys(_INTERVALS, Basis.RAW),
        asset_classes=(AssetClass.CRYPTO,),
        # The limit is 6000 weight a minute and address, a call weighs 2; half of it is left to others.
        requests_per_minute=1200,
        page_bars=_LIMIT,
        settling=timedelta(seconds=10),
    )
    Settings = BinanceSettings

    async def fetch_bars(self, request: BarRequest) -> AsyncIterator[Page]:
        """Yield pages of 1000 bars, oldest first; see `ProviderClient.fetch_bars`."""
        self.require_interval(request)
        listing = self._listing(request.symbol)
        start = _millis(request.start) if request.start else 0
        until = None if request.end is None else max(_millis(request.end) - 1, 0)  # theirs is inclusive
        if until is not None:
            start = min(start, until)
        last: int | None = None
        while True:
            opens, rows = await self._page(request, start, until, last)
            yield Page(rows=rows, listing=listing)
            if len(opens) < _LIMIT:
                return
            last = opens[-1]
            start = _following(request.interval, last)
            if until is not None and start > until:
                return

    async def _page(
        self, request: BarRequest, start: int, until: int | None, last: int | None
    ) -> tuple[list[int], RawBars]:
        params: dict[str, str | int] = {
            "symbol": request.symbol,
            "interval": _INTERVALS[request.interval],
            "startTime": start,
            "limit": _LIMIT,
        }
        if until is not None:
            params["endTime"] = until
        answer = await self.http.get("/api/v3/klines", params, explain=self._explain)
        try:
            klines = msgspec.json.decode(answer.body, type=list[_Kline])
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise self.error(MalformedAnswer, f"sent no list of klines: {exc}") from exc
        opens = [kline[0] for kline in klines]
        seen = [] if last is None else [last]
        if any(later <= earlier for earlier, later in pairwise([*seen, *opens])):
            raise self.error(MalformedAnswer, "sent klines that repeat or go backwards")
        return opens, _rows(klines)

    def _listing(self, symbol: str) -> Listing:
        currency = quote_asset(symbol)
        if currency is None:
            raise self.error(
                UnsupportedRequest,
                f"cannot tell the quote asset of {symbol[:40]!r}: a pair such as BTCUSDT was expected",
            )
        return Listing(symbol=symbol, asset_class=AssetClass.CRYPTO, currency=currency, exchange="BINANCE")

    def _explain(self, answer: Answer) -> ProviderError | None:
        if answer.status == 451:
            return self.error(ProviderUnavailable, "does not serve the place this computer is in (451)")
        if answer.status == 403:
            return self.error(ProviderUnavailable, "its firewall refused the request (403); ask less often")
        try:
            refusal = msgspec.json.decode(answer.body, type=_Refusal)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        kind = _kind(refusal.code)
        if kind is None:
            return None
        text = f"{refusal.msg[:300]} ({refusal.code})"
        if kind is ProviderRateLimited:
            return ProviderRateLimited(self.spec.name, self.http.redact(text), answer.retry_after)
        return self.error(kind, text)


def _kind(code: int) -> type[ProviderError] | None:
    """https://developers.binance.com/docs/binance-spot-api-docs/errors."""
    match code:
        case -1121:
            return SymbolNotFound
        case -1003 | -1015:
            return ProviderRateLimited
        case -2014 | -2015 | -1002:
            return ProviderAuthError
        case _ if -1199 <= code <= -1100:
            return UnsupportedRequest
        case _:
            return None


def _rows(klines: list[_Kline]) -> RawBars:
    _, *cells = zip(*klines, strict=True) if klines else [()] * 12
    *prices, volume = (numbers_from_text(column) for column in cells[:5])

    def text(row: int) -> str:
        return msgspec.json.encode(klines[row]).decode()

    return raw_bars(epochs([kline[0] for kline in klines], "ms"), prices, volume, text)


def _millis(instant: datetime) -> int:
    return max(int(np.datetime64(instant.replace(tzinfo=None), "ms").astype("int64")), 0)


def _following(interval: Interval, last: int) -> int:
    end = interval.end(np.array([last], "datetime64[ms]").astype("datetime64[us]"))
    return int(end.astype("datetime64[ms]").astype("int64")[0])
