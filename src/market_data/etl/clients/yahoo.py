"""Yahoo Finance charts: shares, funds, indices, currencies, crypto, futures of the world; no key, no promise.

There is no vendor documentation; what is known stands in https://github.com/ranaroussi/yfinance.
Prices are split-adjusted. A daily bar is stamped with its session's open, a currency's with London midnight:
its date is the one in `exchangeTimezoneName` (`gmtoffset` is today's, and wrong for half of the bars).
"""

import math
import re
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, time, timedelta
from typing import Annotated, NamedTuple
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import numpy as np
from pydantic_settings import SettingsConfigDict

from market_data.core.exceptions import MalformedAnswer, ProviderError, SymbolNotFound, UnsupportedRequest
from market_data.core.interval import Alignment, Basis, Interval
from market_data.core.vocabulary import AssetClass
from market_data.etl.answer import Answer
from market_data.etl.columns import epochs, no_bars, numbers, raw_bars
from market_data.etl.provider import BarRequest, Listing, Page, ProviderClient, ProviderSettings, ProviderSpec
from market_data.etl.raw import RawBars

_BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"}
"""Any other agent is answered 429."""
_BEGINNING = datetime.fromisoformat("1900-01-01T00:00:00+00:00")
_UNBOUNDED = timedelta(days=100_000)


class _Offer(NamedTuple):
    asked: str
    answered: tuple[str, ...]
    reach: timedelta = _UNBOUNDED
    """How far back from now."""
    window: timedelta = _UNBOUNDED
    """The longest range of one request."""


_INTERVALS = {
    Interval.M1: _Offer("1m", ("1m",), timedelta(days=30), timedelta(days=7)),
    **{i: _Offer(i, (i,), timedelta(days=60)) for i in (Interval.M5, Interval.M15, Interval.M30)},
    Interval.H1: _Offer("60m", ("60m", "1h"), timedelta(days=730)),
    **{i: _Offer(n, (n,)) for i, n in ((Interval.D1, "1d"), (Interval.W1, "1wk"), (Interval.MO1, "1mo"))},
}
_CLASSES = {
    "EQUITY": AssetClass.EQUITY,
    "ETF": AssetClass.ETF,
    "INDEX": AssetClass.INDEX,
    "CURRENCY": AssetClass.FX,
    "CRYPTOCURRENCY": AssetClass.CRYPTO,
    "FUTURE": AssetClass.FUTURE,
    "MUTUALFUND": AssetClass.FUND,
}
_CODE_AND_MIC = re.compile(r"(\w+):(\w+)")
_US = dict(_CODE_AND_MIC.findall("NMS:XNAS NGM:XNAS NCM:XNAS NAS:XNAS NYQ:XNYS PCX:ARCX ASE:XASE BTS:BATS"))
_ABROAD = dict(
    _CODE_AND_MIC.findall(
        "LSE:XLON GER:XETR FRA:XFRA PAR:XPAR AMS:XAMS BRU:XBRU LIS:XLIS MIL:XMIL MCE:XMAD EBS:XSWX STO:XSTO "
        "CPH:XCSE HEL:XHEL OSL:XOSL VIE:XWBO TOR:XTSE VAN:XTSX ASX:XASX JPX:XTKS HKG:XHKG SHH:XSHG SHZ:XSHE "
        "NSI:XNSE BSE:XBOM SES:XSES SAO:BVMF JNB:XJSE KSC:XKRX KOE:XKOS TAI:XTAI NZE:XNZE MEX:XMEX TLV:XTAE"
    )
)
"""Yahoo's exchange codes and their ISO 10383 MICs; any other code is passed on as it is."""
_CURRENCIES = {"GBp": "GBX", "ZAc": "ZAC"}

_Seconds = Annotated[int, msgspec.Meta(ge=-62_135_596_800, le=253_402_300_799)]
_Cells = list[float | None]


class _Session(msgspec.Struct):
    start: _Seconds
    end: _Seconds


class _Meta(msgspec.Struct, rename="camel"):
    symbol: str
    instrument_type: str
    exchange_name: str
    exchange_timezone_name: str
    data_granularity: str
    currency: str | None = None
    regular_market_time: _Seconds | None = None
    current_trading_period: dict[str, _Session] | None = None
    long_name: str | None = None
    short_name: str | None = None


class _Quote(msgspec.Struct):
    open: _Cells | None = None
    high: _Cells | None = None
    low: _Cells | None = None
    close: _Cells | None = None
    volume: _Cells | None = None


class _Indicators(msgspec.Struct):
    quote: list[_Quote]


class _Result(msgspec.Struct):
    meta: _Meta
    indicators: _Indicators
    timestamp: list[_Seconds] | None = None


class _Error(msgspec.Struct):
    code: str = ""
    description: str | None = None


class _Chart(msgspec.Struct):
    result: list[_Result] | None = None
    error: _Error | None = None


class _Body(msgspec.Struct):
    chart: _Chart


class YahooSettings(ProviderSettings):
    """Where to ask Yahoo Finance."""

    model_config = SettingsConfigDict(env_prefix="YAHOO_")

    base_url: str = "https://query2.finance.yahoo.com"


class YahooClient(ProviderClient):
    """Charts of one symbol; symbols are Yahoo's own: `AAPL`, `OCDO.L`, `EURUSD=X`, `BTC-USD`, `^GSPC`."""

    spec = ProviderSpec(
        name="yahoo",
        title="Yahoo Finance",
        covers="shares, funds, indices, currencies, crypto, futures of the world; intraday up to 730 days",
        homepage="https://finance.yahoo.com",
        bases=dict.fromkeys(_INTERVALS, Basis.SPLIT),
        asset_classes=tuple(_CLASSES.values()),
        requests_per_minute=60,  # no limit is published
        history={i: offer.reach for i, offer in _INTERVALS.items() if offer.reach is not _UNBOUNDED},
        settling=timedelta(minutes=20),  # the delay of the slowest exchanges
        timezone=None,
        alignment=Alignment.SESSION,
    )
    Settings = YahooSettings

    async def fetch_bars(self, request: BarRequest) -> AsyncIterator[Page]:
        """Yield a page for each window with bars, or one without rows; see `ProviderClient.fetch_bars`."""
        self.require_interval(request)
        windows, found = list(self._windows(request)), False
        for start, end in windows:
            params: dict[str, str | int] = {
                "period1": start,
                "period2": end,
                "interval": _INTERVALS[request.interval][0],
                "includePrePost": "false",
                "events": "div|split",
            }
            path = f"/v8/finance/chart/{quote(request.symbol, safe='=^')}"
            answer = await self.http.get(path, params, headers=_BROWSER, explain=self._explain)
            page = self._page(request, answer)
            found = found or len(page.rows) > 0
            if len(page.rows) or (not found and end == windows[-1][1]):
                yield page

    def _windows(self, request: BarRequest) -> Iterator[tuple[int, int]]:
        offer, now = _INTERVALS[request.interval], self.now()
        # An hour of slack: the limit is measured when the request arrives.
        oldest = _BEGINNING if offer.reach is _UNBOUNDED else now - offer.reach + timedelta(hours=1)
        start = max(request.start or oldest, oldest)
        if request.start and offer.reach is not _UNBOUNDED and start - request.start > timedelta(days=1):
            text = f"{request.interval} bars reach back {offer.reach.days} days, to {oldest:%Y-%m-%d}"
            raise self.error(UnsupportedRequest, text)
        if not request.interval.is_intraday:
            start = request.interval.floor_instant(start)  # a bar asked from within may lack its beginning
        day = timedelta(days=1)
        end = max(min(request.end or now + day, now + day), _BEGINNING + day)
        if start >= end:
            start = end - day  # no bar is wanted, but what the symbol is
        while start < end:
            stop = min(start + min(offer.window, end - start), end)
            yield int(start.timestamp()), math.ceil(stop.timestamp())
            start = stop

    def _explain(self, answer: Answer) -> ProviderError | None:
        try:
            error = msgspec.json.decode(answer.body, type=_Body).chart.error
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        return self._refusal(error, answer.status) if error else None

    def _refusal(self, error: _Error, status: int) -> ProviderError | None:
        text = f"{error.code}: {(error.description or '')[:300]}"
        if status in {401, 403, 429} or status >= 500:
            return None
        missing = error.code == "Not Found" or "Data doesn't exist" in text
        return self.error(SymbolNotFound if missing else UnsupportedRequest, text)

    def _page(self, request: BarRequest, answer: Answer) -> Page:
        try:
            result = self._result(request, answer)
            if not result.timestamp and result.meta.currency is None:
                raise self.error(SymbolNotFound, f"has nothing under {request.symbol[:40]!r}")
            zone = ZoneInfo(result.meta.exchange_timezone_name)
            rows = _rows(result, result.timestamp, request.interval, zone) if result.timestamp else no_bars()
            return Page(rows=rows, listing=_listing(result.meta), timezone=zone.key)
        except (ValueError, ZoneInfoNotFoundError) as exc:
            raise self.error(MalformedAnswer, f"sent no chart: {exc}") from exc

    def _result(self, request: BarRequest, answer: Answer) -> _Result:
        chart = msgspec.json.decode(answer.body, type=_Body).chart
        if chart.error is not None:
            raise self._refusal(chart.error, answer.status) or ValueError(f"refused: {chart.error.code[:40]}")
        if chart.result is None or len(chart.result) != 1:
            raise ValueError("not one chart")
        meta = chart.result[0].meta
        if meta.symbol.upper() != request.symbol.upper():
            raise ValueError(f"{meta.symbol[:40]!r} came for {request.symbol[:40]!r}")
        if meta.data_granularity not in _INTERVALS[request.interval].answered:
            raise ValueError(f"{meta.data_granularity[:40]!r} bars came for {request.interval}")
        return chart.result[0]


def _listing(meta: _Meta) -> Listing:
    asset_class = _CLASSES.get(meta.instrument_type)
    if asset_class is None:
        raise ValueError(f"unknown type of instrument {meta.instrument_type[:40]!r}")
    if meta.currency is None:
        raise ValueError("prices without a currency")
    code = meta.exchange_name
    return Listing(
        symbol=_venue_symbol(meta.symbol, code, asset_class),
        asset_class=asset_class,
        currency=_CURRENCIES.get(meta.currency, meta.currency),
        exchange="FX" if asset_class is AssetClass.FX else (_US | _ABROAD).get(code, code),
        name=meta.long_name or meta.short_name,
        timezone=meta.exchange_timezone_name,
    )


def _venue_symbol(symbol: str, code: str, asset_class: AssetClass) -> str:
    if asset_class is AssetClass.FX:
        pair = symbol.removesuffix("=X")
        return f"USD{pair}" if len(pair) == 3 else pair
    if asset_class is AssetClass.INDEX:
        return symbol
    if code in _US:
        # A class of shares: BRK-B is BRK.B on its venue.
        return re.sub(r"^([A-Z]+)-([A-Z])$", r"\1.\2", symbol)
    return re.sub(r"(?<=.)\.[A-Z]{1,3}$", "", symbol) if code in _ABROAD else symbol


def _rows(result: _Result, stamps: list[int], interval: Interval, zone: ZoneInfo) -> RawBars:
    if len(result.indicators.quote) != 1:
        raise ValueError("not one set of prices")
    quotes = result.indicators.quote[0]
    columns = [quotes.open, quotes.high, quotes.low, quotes.close, quotes.volume]
    *prices, volume = (numbers(column, len(stamps)) for column in columns)
    running = np.zeros(len(stamps), "bool")
    running[-1] = _is_running(stamps, result.meta, interval, zone)
    there = np.flatnonzero(~np.logical_and.reduce([np.isnan(values) for values, _ in prices]))

    def text(row: int) -> str:
        at = int(there[row])
        cells = {"timestamp": stamps[at]} | {
            name: column[at]
            for name, column in zip(_Quote.__struct_fields__, columns, strict=True)
            if column is not None
        }
        return msgspec.json.encode(cells).decode()

    times, beyond = epochs(stamps, "s")
    kept = [(values[there], flags[there]) for values, flags in (*prices, volume)]
    return raw_bars((times[there], beyond[there]), kept[:-1], kept[-1], text, running[there])


def _is_running(stamps: list[int], meta: _Meta, interval: Interval, zone: ZoneInfo) -> bool:
    """Whether the last bar is stamped with the last trade instead of its own start."""
    if stamps[-1] != meta.regular_market_time:
        return False

    def clock(stamp: int) -> time:
        return datetime.fromtimestamp(stamp, zone).time()

    session = (meta.current_trading_period or {}).get("regular")
    if interval.is_intraday:
        on_grid = bool(interval.aligned(epochs(stamps[-1:], "s")[0], Alignment.SESSION)[0])
        # The closing price comes as one more bar, which starts when the session ends.
        return not on_grid or (session is not None and clock(stamps[-1]) == clock(session.end))
    starts = {time(0), *(clock(stamp) for stamp in stamps[:-1])} | (
        {clock(session.start)} if session else set()
    )
    return clock(stamps[-1]) not in starts
