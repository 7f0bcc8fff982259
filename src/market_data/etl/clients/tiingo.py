"""Tiingo: end-of-day bars of US and Chinese shares, funds and ETFs, raw; needs a key.

https://www.tiingo.com/documentation/end-of-day
Of its two sets of columns the raw one is taken, as traded: the adjusted one changes with every dividend. Days
are the exchange's own, weeks and months are labelled by their last day, oldest first. What it is comes from a
second request. Refusals for too many requests once came with status 200 and as plain text. The bodies of
refusals follow what users report; none is recorded.
"""

import re
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Annotated, NamedTuple
from urllib.parse import quote

import msgspec
from pydantic_settings import SettingsConfigDict

from market_data.core.exceptions import (
    MalformedAnswer,
    ProviderAuthError,
    ProviderError,
    ProviderRateLimited,
    SymbolNotFound,
)
from market_data.core.interval import Basis, Interval
from market_data.core.vocabulary import AssetClass
from market_data.etl.answer import Answer
from market_data.etl.columns import no_bars, numbers, raw_bars, wall_times
from market_data.etl.provider import (
    DAY,
    HOUR,
    BarRequest,
    KeyedSettings,
    Listing,
    Page,
    ProviderClient,
    ProviderSpec,
    Quota,
)
from market_data.etl.raw import RawBars

_FREQUENCIES = {Interval.D1: "daily", Interval.W1: "weekly", Interval.MO1: "monthly"}


class _Venue(NamedTuple):
    exchange: str | None
    currency: str = "USD"
    timezone: str = "America/New_York"


_VENUES = {
    "NASDAQ": _Venue("XNAS"),
    "NYSE": _Venue("XNYS"),
    "NYSE ARCA": _Venue("ARCX"),
    "NYSE MKT": _Venue("XASE"),
    "AMEX": _Venue("XASE"),
    "BATS": _Venue("BATS"),
    "SHE": _Venue("XSHE", "CNY", "Asia/Shanghai"),
    "SHG": _Venue("XSHG", "CNY", "Asia/Shanghai"),
}
"""By Tiingo's exchange codes; all others, such as `PINK` or `NMFQS`, are American."""
_FUNDS = {"NMFQS"}

_Midnight = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d{2}-\d{2}T00:00:00(\.0+)?(Z|\+00:00)$")]


class _Meta(msgspec.Struct, rename="camel"):
    ticker: str
    name: str | None = None
    exchange_code: str | None = None
    start_date: str | None = None


class _Bar(msgspec.Struct):
    date: _Midnight
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: float | None


class _Refusal(msgspec.Struct):
    detail: str


class TiingoSettings(KeyedSettings):
    """Where to ask Tiingo, and with which key."""

    model_config = SettingsConfigDict(env_prefix="TIINGO_")

    base_url: str = "https://api.tiingo.com"


class TiingoClient(ProviderClient):
    """Symbols are Tiingo's own: `GOOGL`, `BRK-B`, `000001` of Shenzhen. Two requests for each."""

    spec = ProviderSpec(
        name="tiingo",
        title="Tiingo",
        covers="end of day of US and Chinese shares, ETFs and mutual funds, raw, since 1962",
        homepage="https://www.tiingo.com",
        bases=dict.fromkeys(_FREQUENCIES, Basis.RAW),
        asset_classes=(AssetClass.EQUITY, AssetClass.FUND),
        # The free limit is 50 an hour, which no even pace per minute would make bearable for short lists.
        requests_per_minute=30,
        quotas=(Quota(50, HOUR), Quota(1000, DAY)),
        settling=timedelta(hours=6),  # corrections come until 20:00 in New York, funds after midnight
        timezone=None,
        needs_key=True,
    )
    Settings = TiingoSettings

    async def fetch_bars(self, request: BarRequest) -> AsyncIterator[Page]:
        """Yield one page; see `ProviderClient.fetch_bars`."""
        self.require_interval(request)
        path = f"/tiingo/daily/{quote(request.symbol, safe='')}"
        meta = self._meta(request, await self._get(path, {}))
        listing, rows = _listing(meta), no_bars()
        if not request.start or request.start < (request.end or self.now() + timedelta(days=1)):
            params = {"format": "json", "resampleFreq": _FREQUENCIES[request.interval]}
            params |= self._range(request, meta)
            rows = self._rows(await self._get(f"{path}/prices", params))
        yield Page(rows=rows, listing=listing, timezone=listing.timezone, wall_clock=True)

    async def _get(self, path: str, params: dict[str, str]) -> Answer:
        key = self.settings.key if isinstance(self.settings, KeyedSettings) else ""
        return await self.http.get(
            path, params, headers={"Authorization": f"Token {key}"}, explain=self._explain
        )

    def _meta(self, request: BarRequest, answer: Answer) -> _Meta:
        try:
            meta = msgspec.json.decode(answer.body, type=_Meta)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise self._explain(answer) or self.error(MalformedAnswer, f"sent no ticker: {exc}") from exc
        if meta.ticker.upper() != request.symbol.upper():
            raise self.error(MalformedAnswer, f"{meta.ticker[:40]!r} came for {request.symbol[:40]!r}")
        if meta.start_date is None:
            raise self.error(SymbolNotFound, f"has no prices of {meta.ticker[:40]}")
        return meta

    def _range(self, request: BarRequest, meta: _Meta) -> dict[str, str]:
        """Name the first and the last day of whole bars; without a first one only the newest bar comes."""
        found = {"startDate": str(meta.start_date)}
        if request.start:
            found["startDate"] = _day(request.interval.floor_instant(request.start))
        if request.end:
            found["endDate"] = _day(request.interval.ceil_instant(request.end) - timedelta(days=1))
        return found

    def _rows(self, answer: Answer) -> RawBars:
        try:
            texts = msgspec.json.decode(answer.body, type=list[msgspec.Raw])
            bars = msgspec.json.decode(answer.body, type=list[_Bar])
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise self._explain(answer) or self.error(MalformedAnswer, f"sent no bars: {exc}") from exc
        if any(later.date <= earlier.date for earlier, later in pairwise(bars)):
            raise self.error(MalformedAnswer, "sent bars that repeat or go backwards")
        return _rows(bars, texts)

    def _explain(self, answer: Answer) -> ProviderError | None:
        try:
            detail = msgspec.json.decode(answer.body, type=_Refusal).detail
        except (msgspec.DecodeError, UnicodeDecodeError):
            detail = answer.text if answer.text.startswith(("You ", "Error")) else ""
        words = detail.lower()
        if re.search(r"run over|allocation|too many", words):
            return ProviderRateLimited(self.spec.name, self.http.redact(detail[:300]), answer.retry_after)
        if re.search(r"token|authenticat|permission", words):
            return self.error(ProviderAuthError, detail[:300])
        if "not found" in words:
            return self.error(SymbolNotFound, detail[:300])
        return None


def _day(instant: datetime) -> str:
    return instant.date().isoformat()


def _listing(meta: _Meta) -> Listing:
    code = (meta.exchange_code or "").upper()
    venue = _VENUES.get(code, _Venue(code if re.fullmatch(r"[A-Z0-9]{1,16}", code) else None))
    ticker = meta.ticker.upper()
    if venue.currency == "USD":
        ticker = re.sub(r"^([A-Z]+)-([A-Z])$", r"\1.\2", ticker)  # a class of shares: BRK-B is BRK.B there
    return Listing(
        symbol=ticker,
        asset_class=AssetClass.FUND if code in _FUNDS else AssetClass.EQUITY,
        currency=venue.currency,
        exchange=venue.exchange,
        name=meta.name,
        timezone=venue.timezone,
    )


def _rows(bars: list[_Bar], texts: list[msgspec.Raw]) -> RawBars:
    columns = [[getattr(bar, name) for bar in bars] for name in ("open", "high", "low", "close", "volume")]
    *prices, volume = (numbers(column, len(bars)) for column in columns)

    def text(row: int) -> str:
        return bytes(texts[row]).decode("utf-8", "replace")

    return raw_bars(wall_times([bar.date[:10] for bar in bars]), prices, volume, text)
