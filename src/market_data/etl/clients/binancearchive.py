"""Binance public data: its archive of spot klines as files, one a month and one a day, without a key.

https://github.com/binance/binance-public-data
Whole past months come as one file; the days since, and those of a month whose file is late, one by one. A
day's file appears the day after, so the newest bars are yesterday's. A file is used only if it has the
SHA-256 of the `.CHECKSUM` beside it. Stamps are milliseconds, and microseconds in files of 2025 and later.
Binance replaces files at times: a repeated ingest takes the new figures over. The bars are a series of their
own (`source` is `binancearchive`) of the same instrument as those of [`binance`](#binance), whose figures
may differ from corrected files. Weeks and months are not asked for: they follow from days.
"""

import hashlib
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from urllib.parse import quote

import numpy as np
import polars as pl
from pydantic_settings import SettingsConfigDict

from market_data.core.exceptions import MalformedAnswer, SymbolNotFound, UnsupportedRequest
from market_data.core.interval import Basis, Interval
from market_data.core.vocabulary import AssetClass
from market_data.etl.answer import Answer
from market_data.etl.columns import TextTable, Times, epochs, no_bars, numbers_from_text, raw_bars
from market_data.etl.packed import only_member
from market_data.etl.pairs import quote_asset
from market_data.etl.provider import BarRequest, Listing, Page, ProviderClient, ProviderSettings, ProviderSpec
from market_data.etl.raw import RawBars

_INTERVALS = (Interval.M1, Interval.M5, Interval.M15, Interval.M30, Interval.H1, Interval.H4, Interval.D1)
_OPENED = datetime(2017, 7, 1, tzinfo=UTC)
"""The month in which Binance opened."""
_BEGINNING = _OPENED.date()
_LATE = timedelta(days=62)
"""How long after a month's end its file may be missing; until then its days are asked one by one."""
_HEADER = (
    "open_time,open,high,low,close,volume,"
    "close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
_READ = tuple(_HEADER.split(",")[:6])
_LEAST_MICROS = 10**14
"""As milliseconds the year 5138, as microseconds 1973."""
_SUM = re.compile(r"([0-9a-fA-F]{64})\s+\*?(\S+)\s*")


class _File(NamedTuple):
    """A file of the archive: the days from `first` until `end`, which is not in it."""

    first: date
    end: date

    @property
    def period(self) -> str:
        return f"{self.first:%Y-%m}" if self.kind == "monthly" else f"{self.first:%Y-%m-%d}"

    @property
    def kind(self) -> str:
        return "daily" if self.end - self.first == timedelta(days=1) else "monthly"


class BinanceArchiveSettings(ProviderSettings):
    """Where to ask Binance's archive."""

    model_config = SettingsConfigDict(env_prefix="BINANCE_ARCHIVE_")

    base_url: str = "https://data.binance.vision"


class BinanceArchiveClient(ProviderClient):
    """Klines of the Binance spot market from files, oldest first; symbols are `BTCUSDT`."""

    spec = ProviderSpec(
        name="binancearchive",
        title="Binance public data",
        covers="every pair of the Binance spot market as files, since its listing (from 2017)",
        homepage="https://data.binance.vision",
        bases=dict.fromkeys(_INTERVALS, Basis.RAW),
        asset_classes=(AssetClass.CRYPTO,),
        requests_per_minute=600,  # files on a content network; no limit is published
        page_bars=31 * 1440,  # a month of minutes
        # A day's file is promised for the next day, without an hour: its first minutes wait longest.
        settling=timedelta(hours=36),
    )
    Settings = BinanceArchiveSettings

    async def fetch_bars(self, request: BarRequest) -> AsyncIterator[Page]:
        """Yield a page for each file there is, or one without rows; see `ProviderClient.fetch_bars`."""
        self.require_interval(request)
        listing = self._listing(request.symbol)
        plan = list(self._plan(request.start, request.end))
        found = False
        for month, days in plan:
            for file in (month, *days) if month else days:
                rows = await self._rows(request, file)
                if rows is None:
                    continue
                found = True
                yield Page(rows=rows, listing=listing)
                if file is month:
                    break
        if not found:
            if not await self._has_any(request):
                raise self.error(SymbolNotFound, f"has no {request.interval} file of {request.symbol[:40]!r}")
            yield Page(rows=no_bars(), listing=listing)

    def _plan(
        self, start: datetime | None, end: datetime | None
    ) -> Iterator[tuple[_File | None, list[_File]]]:
        """Yield for each month its file, if it is over, and the files of days that may stand in for it."""
        now = self.now()
        today = now.date()
        first = max(start.date(), _BEGINNING) if start else _BEGINNING
        # Bounds may lie at the ends of the calendar, where nothing can be added or taken away.
        last = (max(min(end, now), _OPENED) - timedelta.resolution).date() if end else today
        while first <= last and first < today:
            month = _month(first)
            whole = month if month.end <= today else None
            until = min(month.end, last + timedelta(days=1), today)
            recent = month.end > today - _LATE
            yield whole, list(_days(first, until)) if recent else []
            first = month.end

    async def _has_any(self, request: BarRequest) -> bool:
        """Whether there is a file outside the range: then its absence says nothing of the symbol."""
        if request.start is None and request.end is None:
            return False
        plan = [file for month, days in self._plan(None, None) for file in (month, *days) if file]
        for file in reversed(plan):
            if await self._answer(f"{_path(request, file)}.CHECKSUM") is not None:
                return True
        return False

    async def _answer(self, path: str) -> Answer | None:
        try:
            return await self.http.get(path)
        except SymbolNotFound:  # 404: not listed then, or not published yet
            return None

    async def _rows(self, request: BarRequest, file: _File) -> RawBars | None:
        """Read a file; None where there is none.

        Raises:
            MalformedAnswer: its sum, its name or its content are not what they must be.

        """
        path = _path(request, file)
        packed = await self._answer(path)
        if packed is None:
            return None
        beside = await self._answer(f"{path}.CHECKSUM")
        name = _name(request, file)
        try:
            _verify(packed.body, beside.text if beside else "", f"{name}.zip")
            return _read(only_member(packed.body, f"{name}.csv").decode("utf-8-sig"), file)
        except ValueError as exc:
            raise self.error(MalformedAnswer, f"{name[:80]}.zip: {exc}") from exc

    def _listing(self, symbol: str) -> Listing:
        currency = quote_asset(symbol)
        if currency is None or "/" in symbol:
            raise self.error(
                UnsupportedRequest,
                f"cannot tell the quote asset of {symbol[:40]!r}: a pair such as BTCUSDT was expected",
            )
        return Listing(symbol=symbol, asset_class=AssetClass.CRYPTO, currency=currency, exchange="BINANCE")


def _month(day: date) -> _File:
    first = day.replace(day=1)
    return _File(first, (first + timedelta(days=31)).replace(day=1))


def _days(first: date, end: date) -> Iterator[_File]:
    while first < end:
        yield _File(first, first + timedelta(days=1))
        first += timedelta(days=1)


def _name(request: BarRequest, file: _File) -> str:
    return f"{request.symbol}-{request.interval}-{file.period}"


def _path(request: BarRequest, file: _File) -> str:
    folder = f"/data/spot/{file.kind}/klines/{quote(request.symbol)}/{request.interval}"
    return f"{folder}/{quote(_name(request, file))}.zip"


def _verify(packed: bytes, beside: str, name: str) -> None:
    told = _SUM.fullmatch(beside)
    if told is None or told[2] != name:
        raise ValueError("no .CHECKSUM of it lies beside it")
    if told[1].lower() != hashlib.sha256(packed).hexdigest():
        raise ValueError("it has not the SHA-256 that stands in its .CHECKSUM")


def _read(text: str, file: _File) -> RawBars:
    """Read klines; most files have no header, and some have one.

    Raises:
        ValueError: other columns, rows of different lengths, or bars of another period.

    """
    table = TextTable(text if text[:1].isalpha() else f"{_HEADER}\n{text}")
    names = [name.lower().replace(" ", "_") for name in table.names]
    if tuple(names[: len(_READ)]) != _READ:
        raise ValueError(f"other columns: {','.join(names)[:80]}")
    opened, *cells = (table.column(name) for name in table.names[: len(_READ)])
    *prices, volume = (numbers_from_text(column) for column in cells)
    return raw_bars(_stamps(opened, file), prices, volume, lambda row: table.lines[row])


def _stamps(opened: pl.Series, file: _File) -> Times:
    counts = opened.str.strip_chars().cast(pl.Int64, strict=False)
    unreadable = counts.is_null().to_numpy()
    known = counts.drop_nulls().to_numpy()
    micros = bool(len(known)) and int(known.max()) >= _LEAST_MICROS
    found, _ = epochs(known.tolist(), "us" if micros else "ms")
    if ((found < np.datetime64(file.first)) | (found >= np.datetime64(file.end))).any():
        raise ValueError(f"bars that start outside {file.period}")
    stamps = np.full(len(opened), np.datetime64("NaT"), "datetime64[us]")
    stamps[~unreadable] = found
    return stamps, unreadable
