"""European Central Bank: euro foreign exchange reference rates, one value for each TARGET day since 1999.

https://www.ecb.europa.eu/stats/policy_and_exchange_rates/euro_reference_exchange_rates/html/index.en.html
Published around 16:00 CET. A currency without a rate on a day (`N/A`) has no bar.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import date, datetime, timedelta
from xml.etree import ElementTree as ET

import polars as pl
from pydantic_settings import SettingsConfigDict

from market_data.core import clock
from market_data.core.exceptions import MalformedAnswer, SymbolNotFound
from market_data.core.interval import Basis, Interval
from market_data.core.vocabulary import AssetClass
from market_data.etl.columns import TextTable, numbers_from_text, raw_bars, wall_times
from market_data.etl.http import HttpClient
from market_data.etl.packed import only_member
from market_data.etl.provider import BarRequest, Listing, Page, ProviderClient, ProviderSettings, ProviderSpec
from market_data.etl.raw import RawBars

_HISTORY = "/stats/eurofxref/eurofxref-hist.zip"
_NEWEST = "/stats/eurofxref/eurofxref-daily.xml"
_NO_RATE = ("N/A", "")

_NAMES = {
    "AUD": "Australian Dollar",
    "BRL": "Brazilian Real",
    "CAD": "Canadian Dollar",
    "CHF": "Swiss Franc",
    "CNY": "Yuan Renminbi",
    "CZK": "Czech Koruna",
    "DKK": "Danish Krone",
    "GBP": "Pound Sterling",
    "HKD": "Hong Kong Dollar",
    "HUF": "Forint",
    "IDR": "Rupiah",
    "ILS": "New Israeli Sheqel",
    "INR": "Indian Rupee",
    "ISK": "Iceland Krona",
    "JPY": "Yen",
    "KRW": "Won",
    "MXN": "Mexican Peso",
    "MYR": "Malaysian Ringgit",
    "NOK": "Norwegian Krone",
    "NZD": "New Zealand Dollar",
    "PHP": "Philippine Peso",
    "PLN": "Zloty",
    "RON": "Romanian Leu",
    "SEK": "Swedish Krona",
    "SGD": "Singapore Dollar",
    "THB": "Baht",
    "TRY": "Turkish Lira",
    "USD": "US Dollar",
    "ZAR": "Rand",
}
"""Names as ISO 4217 writes them, of the currencies still quoted."""

Table = dict[str, pl.Series]
"""`Date` and one column for each currency, all text."""


class EcbSettings(ProviderSettings):
    """Where to ask the European Central Bank."""

    model_config = SettingsConfigDict(env_prefix="ECB_")

    base_url: str = "https://www.ecb.europa.eu"


class EcbClient(ProviderClient):
    """Reference rates; one download serves every currency asked of the same instance."""

    spec = ProviderSpec(
        name="ecb",
        title="European Central Bank",
        covers="euro reference rates of 30 currencies and 11 past ones, one a TARGET day, since 1999-01-04",
        homepage="https://www.ecb.europa.eu/stats/eurofxref/",
        bases={Interval.D1: Basis.RAW},
        asset_classes=(AssetClass.FX,),
        requests_per_minute=60,
    )
    Settings = EcbSettings

    def __init__(
        self, http: HttpClient, settings: ProviderSettings, *, now: Callable[[], datetime] = clock.now
    ) -> None:
        super().__init__(http, settings, now=now)
        self._tables: dict[str, Table] = {}
        self._lock = asyncio.Lock()

    async def fetch_bars(self, request: BarRequest) -> AsyncIterator[Page]:
        """Yield one page; symbols are `EURUSD`, `EUR/USD` or `USD`. See `ProviderClient.fetch_bars`."""
        self.require_interval(request)
        currency = _currency(request.symbol)
        table = await self._table(_HISTORY if currency is None or self._goes_back(request) else _NEWEST)
        if currency is not None and currency not in table:
            table = await self._table(_HISTORY)  # today's file leaves out currencies that have ended
        if currency is None or currency not in table:
            known = ", ".join(list(table)[1:])
            raise self.error(SymbolNotFound, f"no rate for {request.symbol[:40]!r}; it has {known}")
        name = f"Euro / {_NAMES[currency]}" if currency in _NAMES else None
        listing = Listing(
            symbol=f"EUR{currency}", asset_class=AssetClass.FX, currency=currency, exchange="FX", name=name
        )
        yield Page(rows=_rows(table, currency), listing=listing)

    def _goes_back(self, request: BarRequest) -> bool:
        # Today's file holds the newest day only, so it must not be asked for a range with two working days.
        return request.start is None or request.start.date() < _last_weekday(self.now())

    async def _table(self, path: str) -> Table:
        async with self._lock:
            if path not in self._tables:
                answer = await self.http.get(path)
                try:
                    self._tables[path] = _read(answer.body)
                except (ValueError, KeyError) as exc:
                    raise self.error(MalformedAnswer, f"{path} is no file of rates: {exc}") from exc
            return self._tables[path]


def _currency(symbol: str) -> str | None:
    code = symbol.upper().removeprefix("EUR/")
    code = code.removeprefix("EUR") if len(code) == 6 else code
    return code if len(code) == 3 and code.isascii() and code.isalpha() and code != "EUR" else None


def _last_weekday(now: datetime) -> date:
    today = now.date()
    return today - timedelta(days=max(today.weekday() - 4, 0))


def _read(body: bytes) -> Table:
    """Read rates by what the bytes are, and not by the name they came under."""
    if body[:2] == b"PK":
        body = only_member(body)
    if body.lstrip()[:1] == b"<":
        return _from_xml(body)
    table = TextTable(body.decode("utf-8-sig"))
    if table.names[0] != "Date" or not len(table):
        raise ValueError("no table by date")
    return {name: table.column(name) for name in table.names if name}


def _from_xml(body: bytes) -> Table:
    if b"<!" in body:
        raise ValueError("a page or document type where rates were expected")
    try:
        root = ET.fromstring(body)  # noqa: S314 - entities need a document type, refused above
    except ET.ParseError as exc:
        raise ValueError(str(exc)) from exc
    days = [cube for cube in root.iter() if "time" in cube.attrib]
    rows = [
        {"Date": day.attrib["time"], **{c.attrib["currency"]: c.attrib["rate"] for c in day}} for day in days
    ]
    if not rows:
        raise ValueError("no dated rates")
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {name: pl.Series([row.get(name) for row in rows], dtype=pl.String) for name in names}


def _rows(table: Table, currency: str) -> RawBars:
    dates, rates = table["Date"], table[currency]
    quoted = ~(rates.is_null() | rates.str.strip_chars().is_in(_NO_RATE))
    dates, rates = dates.filter(quoted), rates.filter(quoted)
    rate = numbers_from_text(rates)
    return raw_bars(wall_times(dates), [rate] * 4, None, lambda row: f"{dates[row]} {currency} {rates[row]}")
