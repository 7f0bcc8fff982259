"""Kraken spot: the newest 720 bars of every pair, without a key.

https://docs.kraken.com/api/docs/rest-api/get-ohlc-data
There is no second page: history beyond the newest 720 bars is not to be had by this call, whatever start is
asked for, and a request that needs it is refused. The last bar of an answer is always the running one.
Intervals without trades are flat bars of volume 0. Weeks are derived from days: Kraken does not say on which
day its own begin.
"""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
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
from market_data.core.interval import Basis, Interval, aware
from market_data.core.vocabulary import AssetClass
from market_data.etl.answer import Answer
from market_data.etl.columns import epochs, numbers_from_text, raw_bars
from market_data.etl.provider import BarRequest, Listing, Page, ProviderClient, ProviderSettings, ProviderSpec
from market_data.etl.raw import RawBars
from market_data.etl.windows import check_order

_DEPTH = 720
_INTERVALS = {
    Interval.M1: 1,
    Interval.M5: 5,
    Interval.M15: 15,
    Interval.M30: 30,
    Interval.H1: 60,
    Interval.H4: 240,
    Interval.D1: 1440,
}
_FIAT = ("USD", "EUR", "GBP", "JPY", "CAD", "AUD", "CHF", "AED")
_QUOTES = (
    # The answer names no quote asset; these cannot be mistaken for the end of another.
    *_FIAT,
    *("XBT", "ETH", "SOL", "DOT", "USDT", "USDC", "DAI", "PYUSD", "USDG", "RLUSD", "USDQ", "USDR"),
    *("EURT", "EURQ", "EURR", "EUROP"),
)
_REFUSALS = (
    ("EQuery:Unknown asset", SymbolNotFound),
    ("EGeneral:Too many requests", ProviderRateLimited),
    ("EGeneral:Temporary lockout", ProviderRateLimited),
    ("EAPI:Rate limit", ProviderRateLimited),
    ("EService:Throttled", ProviderRateLimited),
    ("EService:", ProviderUnavailable),
    ("EGeneral:Internal error", ProviderUnavailable),
    ("EGeneral:Permission denied", ProviderAuthError),
    ("EAPI:", ProviderAuthError),
    ("EGeneral:", UnsupportedRequest),
    ("EQuery:", UnsupportedRequest),
)
"""https://docs.kraken.com/exchange/guides/general/errors; the first that fits counts."""

_Seconds = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799)]
_Row = tuple[_Seconds, str, str, str, str, str, str, int]
"""Start, o, h, l, c, average price, volume, trades."""


class _Body(msgspec.Struct):
    error: list[str]
    result: dict[str, msgspec.Raw] | None = None


class KrakenSettings(ProviderSettings):
    """Where to ask Kraken."""

    model_config = SettingsConfigDict(env_prefix="KRAKEN_")

    base_url: str = "https://api.kraken.com"


class KrakenClient(ProviderClient):
    """Symbols are Kraken's, in any of its spellings: `XBTUSD`, `XXBTZUSD`, `XBT/USD`, `BTC/USD`."""

    spec = ProviderSpec(
        name="kraken",
        title="Kraken",
        covers="the newest 720 bars of every pair of the Kraken spot market",
        homepage="https://www.kraken.com",
        bases=dict.fromkeys(_INTERVALS, Basis.RAW),
        asset_classes=(AssetClass.CRYPTO,),
        requests_per_minute=60,
        page_bars=_DEPTH,
        # The last of the 720 is running.
        history={interval: (_DEPTH - 1) * interval.duration for interval in _INTERVALS},
        settling=timedelta(seconds=10),
    )
    Settings = KrakenSettings

    async def fetch_bars(self, request: BarRequest) -> AsyncIterator[Page]:
        """Yield the one page there is; see `ProviderClient.fetch_bars`."""
        self.require_interval(request)
        params: dict[str, str | int] = {"pair": request.symbol, "interval": _INTERVALS[request.interval]}
        if request.start:
            start = min(request.start, self.now())
            # Theirs is exclusive; a second before the bar's start means the same either way.
            params["since"] = max(int(request.interval.ceil_instant(start).timestamp()) - 1, 0)
        answer = await self.http.get("/0/public/OHLC", params, explain=self._explain)
        try:
            name, last, rows = self._decode(answer, request.symbol)
            check_order([row[0] for row in rows], request.interval)
        except ValueError as exc:
            raise self.error(MalformedAnswer, f"sent no bars: {exc}") from exc
        bars = _bars(rows, last)
        self._require_depth(request, bars)
        yield Page(rows=bars, listing=self._listing(_plain(name)))

    def _decode(self, answer: Answer, symbol: str) -> tuple[str, int, list[_Row]]:
        body = msgspec.json.decode(answer.body, type=_Body)
        if refusal := self._refusal(body, answer):
            raise refusal
        result = dict(body.result or {})
        last = msgspec.json.decode(result.pop("last", b""), type=_Seconds)
        if len(result) != 1:
            raise ValueError("not one pair")
        ((name, rows),) = result.items()
        if _plain(name) != _plain(symbol):
            raise ValueError(f"{name[:40]!r} came for {symbol[:40]!r}")
        return name, last, msgspec.json.decode(rows, type=list[_Row])

    def _explain(self, answer: Answer) -> ProviderError | None:
        try:
            refusal = self._refusal(msgspec.json.decode(answer.body, type=_Body), answer)
        except ValueError:
            refusal = None
        if refusal is None and answer.status in {401, 403, 451}:
            return self.error(ProviderUnavailable, f"its firewall refused the request ({answer.status})")
        return refusal

    def _refusal(self, body: _Body, answer: Answer) -> ProviderError | None:
        """Read the list of errors, which comes with status 200; entries with a W are warnings."""
        errors = [re.sub(r":\s+", ":", error, count=1) for error in body.error if not error.startswith("W")]
        if not errors:
            return None
        text = "; ".join(errors)[:300]
        kinds = (kind for start, kind in _REFUSALS if errors[0].startswith(start))
        kind = next(kinds, MalformedAnswer)
        if kind is not ProviderRateLimited:
            return self.error(kind, text)
        until = re.fullmatch(r"EService:Throttled:\s*(\d{10})", errors[0])
        after = max(int(until[1]) - self.now().timestamp(), 0.0) if until else None
        return ProviderRateLimited(self.spec.name, self.http.redact(text), answer.retry_after or after)

    def _require_depth(self, request: BarRequest, bars: RawBars) -> None:
        """Refuse a range that begins before the oldest bar of a full answer: what lies between is lost."""
        if len(bars) < _DEPTH:
            return
        oldest = aware(bars.stamp[0])
        early = request.start is not None and request.interval.ceil_instant(request.start) < oldest
        if early or (request.end is not None and request.end <= oldest):
            text = f"gives the newest {_DEPTH} bars, {request.interval} back to {oldest:%Y-%m-%dT%H:%MZ}"
            raise self.error(UnsupportedRequest, text)

    def _listing(self, symbol: str) -> Listing:
        currency = max((q for q in _QUOTES if symbol.endswith(q) and symbol != q), key=len, default=None)
        if currency is None:
            raise self.error(UnsupportedRequest, f"cannot tell the quote asset of {symbol[:40]!r}")
        if symbol.removesuffix(currency) in _FIAT:
            raise self.error(
                UnsupportedRequest, f"{symbol[:40]!r} is a pair of currencies; only crypto is read"
            )
        return Listing(symbol=symbol, asset_class=AssetClass.CRYPTO, currency=currency, exchange="KRAKEN")


def _plain(name: str) -> str:
    """Bring the spellings of a pair to one: `XXBTZUSD`, `XBT/USD`, `BTCUSD` are `XBTUSD`."""
    plain = name.upper().replace("/", "")
    plain = re.sub(r"^[XZ]([A-Z]{3})[XZ]([A-Z]{3})$", r"\1\2", plain)
    plain = plain.replace("USDTZUSD", "USDTUSD")
    plain = re.sub(r"^BTC(?=[A-Z]{3})|(?<=[A-Z]{3})BTC$", "XBT", plain)
    return re.sub(r"^DOGE(?=[A-Z]{3})", "XDG", plain)


def _bars(rows: list[_Row], last: int) -> RawBars:
    stamps, *cells = zip(*rows, strict=True) if rows else [()] * 8
    prices = [numbers_from_text(column) for column in cells[:4]]
    running = np.array([stamp > last for stamp in stamps], "bool")
    running[-1:] = True

    def text(row: int) -> str:
        return msgspec.json.encode(rows[row]).decode()

    return raw_bars(epochs(stamps, "s"), prices, numbers_from_text(cells[5]), text, running)
