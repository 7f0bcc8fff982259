"""Bitstamp: UTC bars of every pair since it was listed, without a key.

https://www.bitstamp.net/api/#tag/Market-info/operation/GetOHLCData
At most 1000 bars an answer, oldest first, counted back from the end of the range: what precedes its start
comes along and is cut. Intervals without trades are flat bars of volume 0. A bar may come twice, and then the
later one counts.
"""

import math
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial

import msgspec
from pydantic_settings import SettingsConfigDict

from market_data.core.exceptions import (
    MalformedAnswer,
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
from market_data.etl.provider import BarRequest, Listing, Page, ProviderClient, ProviderSettings, ProviderSpec
from market_data.etl.raw import RawBars
from market_data.etl.windows import check_order, span, walk

_LIMIT = 1000
_OPENED = datetime.fromisoformat("2011-08-18T00:00:00+00:00")
"""The first day of BTC/USD, the oldest pair."""
_INTERVALS = {
    Interval.M1: 60,
    Interval.M5: 300,
    Interval.M15: 900,
    Interval.M30: 1800,
    Interval.H1: 3600,
    Interval.H4: 14_400,
    Interval.D1: 86_400,
}
_CODES = (
    ("400.002", ProviderRateLimited),
    ("400.067", ProviderRateLimited),
    ("400.068", ProviderRateLimited),
    ("404.003", SymbolNotFound),
    ("404.007", SymbolNotFound),
    ("400.", UnsupportedRequest),
    ("5", ProviderUnavailable),
)
"""https://www.bitstamp.net/api/#section/Response-codes; the first that fits counts."""


class _Bar(msgspec.Struct):
    timestamp: str
    open: str
    high: str
    low: str
    close: str
    volume: str

    @property
    def time(self) -> int:
        return int(self.timestamp)


class _Data(msgspec.Struct):
    pair: str
    ohlc: list[_Bar]


class _Body(msgspec.Struct):
    data: _Data | None = None
    response_code: str = ""
    response_explanation: str = ""


class BitstampSettings(ProviderSettings):
    """Where to ask Bitstamp."""

    model_config = SettingsConfigDict(env_prefix="BITSTAMP_")

    base_url: str = "https://www.bitstamp.net"


class BitstampClient(ProviderClient):
    """Pairs such as `btcusd` or `BTC/USD`, in windows of 1000 bars, oldest first."""

    spec = ProviderSpec(
        name="bitstamp",
        title="Bitstamp",
        covers="every pair of the Bitstamp spot market, since its listing (from 2011-08-18)",
        homepage="https://www.bitstamp.net",
        bases=dict.fromkeys(_INTERVALS, Basis.RAW),
        asset_classes=(AssetClass.CRYPTO,),
        # 10000 in ten minutes are allowed to an address; some are left to others.
        requests_per_minute=600,
        page_bars=_LIMIT,
        settling=timedelta(seconds=10),
    )
    Settings = BitstampSettings

    async def fetch_bars(self, request: BarRequest) -> AsyncIterator[Page]:
        """Yield a page for each window with bars, or one without rows; see `ProviderClient.fetch_bars`."""
        self.require_interval(request)
        pair = _plain(request.symbol)
        if not re.fullmatch(r"[a-z0-9]{4,30}", pair):
            text = f"{request.symbol[:40]!r} is no pair: one such as btcusd was expected"
            raise self.error(SymbolNotFound, text)
        start, end = span(request, _OPENED, self.now())
        names: set[str] = set()
        fetch = partial(self._window, pair, names)
        async for rows in walk(fetch, request.interval, start, end, _LIMIT):
            yield Page(rows=rows, listing=_listing(min(names)))

    async def _window(
        self, pair: str, names: set[str], interval: Interval, start: datetime, stop: datetime
    ) -> RawBars:
        """Ask until the window's start is reached: a bar that came twice has pushed out an older one."""
        found: list[_Bar] = []
        while start < stop:
            # Three times what fits: then bars that came twice, or a short range, cost no second request.
            limit = min(3 * math.ceil((stop - start) / interval.duration), _LIMIT)
            data = await self._ask(pair, interval, start, stop, limit)
            names.add(data.pair)
            inside = [bar for bar in data.ohlc if bar.time >= start.timestamp()]
            found = inside + found
            if data.ohlc and not inside:
                await self._confirm(pair, interval, (start, stop), data.ohlc[-1])
            if len(data.ohlc) < limit or len(inside) < len(data.ohlc):
                break
            stop = datetime.fromtimestamp(inside[0].time, UTC)
        return _rows(found)

    async def _confirm(
        self, pair: str, interval: Interval, window: tuple[datetime, datetime], newest: _Bar
    ) -> None:
        """Make sure that a window is empty and the answer is not an older one given out again."""
        data = await self._ask(pair, interval, *window, 1)
        if [bar.time for bar in data.ohlc] != [newest.time]:
            raise self.error(MalformedAnswer, "sent bars that precede the range asked for")

    async def _ask(self, pair: str, interval: Interval, start: datetime, stop: datetime, limit: int) -> _Data:
        params: dict[str, str | int] = {
            "step": _INTERVALS[interval],
            "limit": limit,
            "start": int(start.timestamp()),
            "end": math.ceil(stop.timestamp()) - 1,  # theirs is inclusive
        }
        answer = await self.http.get(f"/api/v2/ohlc/{pair}/", params, explain=self._explain)
        try:
            data = self._decode(answer)
            _check(data, pair, interval, stop)
        except ValueError as exc:
            raise self.error(MalformedAnswer, f"sent no bars: {exc}") from exc
        return data

    def _decode(self, answer: Answer) -> _Data:
        body = msgspec.json.decode(answer.body, type=_Body)
        if body.data is None:
            raise self._refusal(body, answer) or ValueError(answer.excerpt)
        return body.data

    def _explain(self, answer: Answer) -> ProviderError | None:
        try:
            refusal = self._refusal(msgspec.json.decode(answer.body, type=_Body), answer)
        except ValueError:
            refusal = None
        if refusal is None and answer.status in {401, 403, 451}:
            return self.error(ProviderUnavailable, f"its firewall refused the request ({answer.status})")
        return refusal

    def _refusal(self, body: _Body, answer: Answer) -> ProviderError | None:
        """Read the vendor's own code, which may come with any status."""
        code = body.response_code
        kind = next((kind for start, kind in _CODES if code.startswith(start)), None)
        text = f"{body.response_explanation[:300]} ({code})".strip()
        if kind is ProviderRateLimited:
            return ProviderRateLimited(self.spec.name, self.http.redact(text), answer.retry_after)
        return self.error(kind, text) if kind else None


def _plain(pair: str) -> str:
    return pair.replace("/", "").lower()


def _check(data: _Data, pair: str, interval: Interval, stop: datetime) -> None:
    if _plain(data.pair) != pair or "/" not in data.pair:
        raise ValueError(f"{data.pair[:40]!r} came for {pair!r}")
    times = [bar.time for bar in data.ohlc]
    check_order(times, interval, strict=False)
    if times and times[-1] >= stop.timestamp():
        raise ValueError("bars after the range asked for")


def _listing(pair: str) -> Listing:
    """Read the pair as an answer names it: `BTC/USD`."""
    base, _, currency = pair.upper().partition("/")
    return Listing(
        symbol=base + currency, asset_class=AssetClass.CRYPTO, currency=currency, exchange="BITSTAMP"
    )


def _rows(bars: list[_Bar]) -> RawBars:
    columns = ([getattr(bar, name) for bar in bars] for name in ("open", "high", "low", "close", "volume"))
    *prices, volume = (numbers_from_text(column) for column in columns)

    def text(row: int) -> str:
        return msgspec.json.encode(bars[row]).decode()

    return raw_bars(epochs([bar.time for bar in bars], "s"), prices, volume, text)
