"""Coinbase Exchange: UTC bars of every product since it was listed, without a key.

https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-product-candles
At most 300 bars an answer, newest first, both ends of the range inclusive. Intervals without trades have no
bar.
"""

import re
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated
from urllib.parse import quote

import msgspec
from pydantic_settings import SettingsConfigDict

from market_data.core.exceptions import (
    MalformedAnswer,
    ProviderError,
    ProviderUnavailable,
    SymbolNotFound,
    UnsupportedRequest,
)
from market_data.core.interval import Basis, Interval
from market_data.core.vocabulary import AssetClass
from market_data.etl.answer import Answer
from market_data.etl.columns import epochs, numbers, raw_bars
from market_data.etl.provider import BarRequest, Listing, Page, ProviderClient, ProviderSettings, ProviderSpec
from market_data.etl.raw import RawBars
from market_data.etl.windows import check_order, last_start, span, walk

_LIMIT = 300
_OPENED = datetime.fromisoformat("2014-12-01T00:00:00+00:00")
"""Before the first trade of any product."""
_INTERVALS = {
    Interval.M1: 60,
    Interval.M5: 300,
    Interval.M15: 900,
    Interval.H1: 3600,
    Interval.D1: 86_400,
}

_Seconds = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799)]
_Cell = float | None
_Candle = tuple[_Seconds, _Cell, _Cell, _Cell, _Cell, _Cell]
"""Start, low, high, open, close, volume."""


class _Refusal(msgspec.Struct):
    message: str


class _TooOld(UnsupportedRequest):
    """The whole window lies before what is kept."""


class CoinbaseSettings(ProviderSettings):
    """Where to ask Coinbase."""

    model_config = SettingsConfigDict(env_prefix="COINBASE_")

    base_url: str = "https://api.exchange.coinbase.com"


class CoinbaseClient(ProviderClient):
    """Products such as `BTC-USD`, in windows of 300 bars, oldest first."""

    spec = ProviderSpec(
        name="coinbase",
        title="Coinbase Exchange",
        covers="every product of the Coinbase Exchange, since its listing (from 2015)",
        homepage="https://exchange.coinbase.com",
        bases=dict.fromkeys(_INTERVALS, Basis.RAW),
        asset_classes=(AssetClass.CRYPTO,),
        # Ten a second are allowed to an address; half of it is left to others.
        requests_per_minute=300,
        page_bars=_LIMIT,
        settling=timedelta(seconds=10),
    )
    Settings = CoinbaseSettings

    async def fetch_bars(self, request: BarRequest) -> AsyncIterator[Page]:
        """Yield a page for each window with bars, or one without rows; see `ProviderClient.fetch_bars`."""
        self.require_interval(request)
        listing = self._listing(request.symbol)
        start, end = span(request, _OPENED, self.now())
        fetch = partial(self._window, listing.symbol, end)
        async for rows in walk(fetch, request.interval, start, end, _LIMIT):
            yield Page(rows=rows, listing=listing)

    async def _window(
        self, product: str, end: datetime, interval: Interval, start: datetime, stop: datetime
    ) -> RawBars:
        params: dict[str, str | int] = {
            "granularity": _INTERVALS[interval],
            "start": f"{start:%Y-%m-%dT%H:%M:%SZ}",
            "end": f"{last_start(interval, stop):%Y-%m-%dT%H:%M:%SZ}",
        }
        path = f"/products/{quote(product, safe='')}/candles"
        try:
            answer = await self.http.get(path, params, explain=self._explain)
        except _TooOld as exc:
            if stop < end:
                return _rows([])
            raise self.error(UnsupportedRequest, "has nothing that old") from exc
        try:
            candles = msgspec.json.decode(answer.body, type=list[_Candle])[::-1]
            return _rows(_inside(candles, interval, start, stop))
        except ValueError as exc:
            raise self.error(MalformedAnswer, f"sent no candles: {exc}") from exc

    def _listing(self, symbol: str) -> Listing:
        product = symbol.upper()
        if not re.fullmatch(r"[A-Z0-9]+-[A-Z0-9]+", product):
            raise self.error(
                SymbolNotFound, f"{symbol[:40]!r} is no product: one such as BTC-USD was expected"
            )
        currency = product.partition("-")[2]
        return Listing(symbol=product, asset_class=AssetClass.CRYPTO, currency=currency, exchange="COINBASE")

    def _explain(self, answer: Answer) -> ProviderError | None:
        if answer.status in {401, 403, 451}:
            return self.error(ProviderUnavailable, f"its firewall refused the request ({answer.status})")
        if answer.status != 400:
            return None
        try:
            message = msgspec.json.decode(answer.body, type=_Refusal).message
        except ValueError:
            return None
        return self.error(_TooOld if "too old" in message else UnsupportedRequest, message[:300])


def _inside(candles: list[_Candle], interval: Interval, start: datetime, stop: datetime) -> list[_Candle]:
    """Cut what precedes the window, as the vendor says may come; anything else outside it is no answer."""
    check_order([candle[0] for candle in candles], interval)
    found = [candle for candle in candles if candle[0] >= start.timestamp()]
    if candles and (not found or found[-1][0] >= stop.timestamp()):
        raise ValueError("bars outside the range asked for")
    return found


def _rows(candles: list[_Candle]) -> RawBars:
    times, *cells = zip(*candles, strict=True) if candles else [()] * 6
    low, high, opened, close, volume = (numbers(column, len(times)) for column in cells)

    def text(row: int) -> str:
        return msgspec.json.encode(candles[row]).decode()

    return raw_bars(epochs(times, "s"), [opened, high, low, close], volume, text)
