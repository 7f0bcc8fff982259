"""LEAN: folders of market data as QuantConnect's LEAN engine keeps them, on this computer or on a server.

https://github.com/QuantConnect/Lean/tree/master/Data
`LEAN_FOLDER` names the folder (LEAN's `Data`), which is read without a pace; without it, files are asked of
`LEAN_BASE_URL`, by default LEAN's own small sample. Read are US shares, crypto (trades) and currencies, by
minute, hour and day. Prices are raw: factor and map files are not applied, and a share that changed its
ticker is another folder. Currencies have quotes alone: their bars are the mean of bid and ask, as LEAN reads
them, without volume. Times are those of LEAN's data: New York for US shares, UTC-5 for FXCM, else UTC. What
a crypto pair is quoted in, and what its venue calls it, stands in the folder's `symbol-properties`. Minutes
lie in a file a day, found by their folder's listing, which GitHub does not give.
"""

import csv
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import httpx2
import numpy as np
import polars as pl
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from market_data.core.exceptions import (
    ConfigurationError,
    MalformedAnswer,
    SymbolNotFound,
    UnsupportedRequest,
)
from market_data.core.interval import Basis, Interval
from market_data.core.vocabulary import AssetClass
from market_data.etl.columns import Numbers, TextTable, Times, no_bars, numbers_from_text, raw_bars
from market_data.etl.currencies import CODES
from market_data.etl.folder import FolderTransport
from market_data.etl.packed import only_member
from market_data.etl.provider import BarRequest, Listing, Page, ProviderClient, ProviderSettings, ProviderSpec
from market_data.etl.raw import RawBars

_FOLDERS = {Interval.M1: "minute", Interval.H1: "hour", Interval.D1: "daily"}
_PROPERTIES = "/symbol-properties/symbol-properties-database.csv"
_SYMBOL = re.compile(r"(equity|crypto|forex)/([a-z0-9]+)/([a-z0-9][a-z0-9._-]*)")
_ZONES = {
    ("equity", "usa"): "America/New_York",
    ("forex", "oanda"): "UTC",
    ("forex", "interactivebrokers"): "UTC",
    ("forex", "fxcm"): "Etc/GMT+5",  # five hours behind UTC, in the reversed sign of these names
}
"""Zones of the data by LEAN's market-hours database, which has UTC for all crypto."""
_PRICES = ("open", "high", "low", "close")
_TRADES = ",".join(("time", *_PRICES, "volume"))
_QUOTES = ",".join(("time", *(f"{side}_{name}" for side in ("bid", "ask") for name in (*_PRICES, "size"))))
_SHARE_SCALE = 10_000
_DAY = 86_400_000


class _Place(NamedTuple):
    """Where in the folder a symbol's files lie."""

    kind: str
    market: str
    ticker: str

    @property
    def zone(self) -> str | None:
        return "UTC" if self.kind == "crypto" else _ZONES.get((self.kind, self.market))

    @property
    def tick(self) -> str:
        return "quote" if self.kind == "forex" else "trade"

    def path(self, interval: Interval) -> str:
        """Return the file of all bars, or the folder of files by day."""
        folder = f"/{self.kind}/{self.market}/{_FOLDERS[interval]}/{self.ticker}"
        if interval is Interval.M1:
            return f"{folder}/"
        return f"{folder}_trade.zip" if self.kind == "crypto" else f"{folder}.zip"


class LeanSettings(ProviderSettings):
    """Where LEAN's data lie."""

    model_config = SettingsConfigDict(env_prefix="LEAN_")

    base_url: str = "https://raw.githubusercontent.com/QuantConnect/Lean/master/Data"
    folder: Path | None = Field(
        default=None, description="LEAN's folder `Data` on this computer; nothing is asked of a server then."
    )

    def transport(self) -> httpx2.AsyncBaseTransport | None:
        """Return the folder in place of the network, if one is named; see `ProviderSettings.transport`."""
        if self.folder is None:
            return None
        if not self.folder.is_dir():
            raise ConfigurationError(f"LEAN_FOLDER: {self.folder} is no folder")
        return FolderTransport(self.folder, httpx2.URL(self.base_url).path)


class LeanClient(ProviderClient):
    """Symbols are paths in the folder: `equity/usa/aapl`, `crypto/coinbase/btcusd`, `forex/oanda/eurusd`."""

    spec = ProviderSpec(
        name="lean",
        title="LEAN",
        covers="US shares, crypto and currencies in folders of QuantConnect's LEAN engine",
        homepage="https://www.lean.io",
        bases=dict.fromkeys(_FOLDERS, Basis.RAW),
        asset_classes=(AssetClass.EQUITY, AssetClass.CRYPTO, AssetClass.FX),
        requests_per_minute=60,
        timezone=None,
    )
    Settings = LeanSettings

    async def fetch_bars(self, request: BarRequest) -> AsyncIterator[Page]:
        """Yield one page, or one for each day of minutes there is; see `ProviderClient.fetch_bars`."""
        self.require_interval(request)
        place = self._place(request.symbol)
        zone = place.zone
        if zone is None:
            raise self.error(UnsupportedRequest, f"does not know the data of {place.kind}/{place.market}")
        listing = await self._listing(place)
        path = place.path(request.interval)
        days: list[date | None] = [None]
        if request.interval is Interval.M1:
            days = [day for day in await self._days(path, place) if _is_within(day, request, ZoneInfo(zone))]
        if not days:
            yield Page(rows=no_bars(), listing=listing, timezone=zone, wall_clock=True)
        for day in days:
            file = path if day is None else f"{path}{day:%Y%m%d}_{place.tick}.zip"
            answer = await self.http.get(file)
            try:
                rows = _read(only_member(answer.body).decode(), place, day)
            except ValueError as exc:
                raise self.error(MalformedAnswer, f"{file} is no file of bars: {exc}") from exc
            yield Page(rows=rows, listing=listing, timezone=zone, wall_clock=True)

    def _place(self, symbol: str) -> _Place:
        found = _SYMBOL.fullmatch(symbol.lower())
        if found is None:
            text = f"{symbol[:40]!r} is no path in a LEAN folder such as equity/usa/aapl"
            raise self.error(SymbolNotFound, text)
        return _Place(*found.groups())

    async def _days(self, path: str, place: _Place) -> list[date]:
        """Return the days of minutes there are: names in the listing, however a server writes one."""
        answer = await self.http.get(path)
        names = set(re.findall(rf"\b([0-9]{{8}})_{place.tick}\.zip", answer.text))
        if not names:
            raise self.error(SymbolNotFound, f"lists no {place.tick} files in {path}")
        try:
            return sorted(datetime.strptime(name, "%Y%m%d").replace(tzinfo=UTC).date() for name in names)
        except ValueError as exc:
            raise self.error(MalformedAnswer, f"lists files of no day in {path}: {exc}") from exc

    async def _listing(self, place: _Place) -> Listing:
        ticker = place.ticker.upper()
        if place.kind == "equity":
            zone = _ZONES[place.kind, place.market]
            return Listing(symbol=ticker, asset_class=AssetClass.EQUITY, currency="USD", timezone=zone)
        if place.kind == "forex":
            if len(ticker) != 6 or not {ticker[:3], ticker[3:]} <= CODES:
                raise self.error(SymbolNotFound, f"{ticker[:40]!r} is no pair of currencies")
            return Listing(symbol=ticker, asset_class=AssetClass.FX, currency=ticker[3:], exchange="FX")
        properties = await self._properties(place)
        return Listing(
            symbol=properties.get("market_ticker") or ticker,
            asset_class=AssetClass.CRYPTO,
            currency=properties["quote_currency"],
            exchange=place.market.upper(),
            name=properties.get("description") or None,
        )

    async def _properties(self, place: _Place) -> dict[str, str]:
        answer = await self.http.get(_PROPERTIES)
        wanted = {"market": place.market, "symbol": place.ticker.upper(), "type": "crypto"}
        header = ""
        for row in _table(answer.text):
            header = header or ",".join(row)
            if wanted.items() <= row.items() and row.get("quote_currency"):
                return row
        if "quote_currency" not in header:
            raise self.error(MalformedAnswer, f"{_PROPERTIES} is no table of symbols")
        raise self.error(SymbolNotFound, f"{_PROPERTIES} has no {place.market} {place.ticker.upper()[:40]}")


def _table(text: str) -> Iterator[dict[str, str]]:
    lines = (line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    for row in csv.DictReader(lines):
        # A row with more or fewer cells than the header has some under None, or None in some.
        yield {name: cell.strip() for name, cell in row.items() if name and isinstance(cell, str)}


def _is_within(day: date, request: BarRequest, zone: ZoneInfo) -> bool:
    """Whether a day of a zone shares a moment with the range asked for."""
    begins = datetime.combine(day, time.min, zone)
    ends = datetime.combine(day + timedelta(days=1), time.min, zone)
    return (request.start is None or request.start < ends) and (request.end is None or begins < request.end)


def _read(text: str, place: _Place, day: date | None) -> RawBars:
    """Read bars; `day` is that of a file of minutes.

    Raises:
        ValueError: other columns, or rows of different lengths.

    """
    table = TextTable(f"{_QUOTES if place.kind == 'forex' else _TRADES}\n{text}")
    if not len(table):
        raise ValueError("no rows")
    stamps = _stamps(table.column("time")) if day is None else _millis(table.column("time"), day)
    if place.kind == "forex":
        return raw_bars(stamps, [_mean(table, name) for name in _PRICES], None, lambda row: table.lines[row])
    *prices, volume = (numbers_from_text(table.column(name)) for name in (*_PRICES, "volume"))
    if place.kind == "equity":
        prices = [(values / _SHARE_SCALE, flags) for values, flags in prices]
    return raw_bars(stamps, prices, volume, lambda row: table.lines[row])


def _stamps(cells: pl.Series) -> Times:
    stamps = cells.str.strip_chars().str.to_datetime("%Y%m%d %H:%M", time_unit="us", strict=False)
    return stamps.to_numpy().astype("datetime64[us]"), stamps.is_null().to_numpy()


def _millis(cells: pl.Series, day: date) -> Times:
    """Read milliseconds the clock has shown since midnight: hours by the wall, not hours gone by."""
    counts = cells.str.strip_chars().cast(pl.Int64, strict=False)
    known = (counts.is_between(0, _DAY - 1) & counts.is_not_null()).fill_null(value=False).to_numpy()
    stamps = np.full(len(counts), np.datetime64("NaT"), "datetime64[us]")
    stamps[known] = np.datetime64(day, "us") + counts.to_numpy()[known].astype("timedelta64[ms]")
    return stamps, ~known


def _mean(table: TextTable, name: str) -> Numbers:
    """Mean of bid and ask: the double nearest to the exact decimal, of quotes with up to 8 places.

    A side that LEAN has no quotes of is 0 or empty; then there is no price.
    """
    (bid, odd_bid), (ask, odd_ask) = (
        numbers_from_text(table.column(f"{side}_{name}")) for side in ("bid", "ask")
    )
    both = (bid > 0) & (ask > 0)
    return np.where(both, np.round((bid + ask) / 2, 9), np.nan), odd_bid | odd_ask
