"""Real recordings through the clients; what is expected is read from the files by other means."""

import csv
import hashlib
import io
import json
import os
import zipfile
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

import httpx2
import numpy as np
import pytest

from market_data.core import exceptions
from market_data.core.interval import Interval
from market_data.etl.clients.lean import _Place
from market_data.etl.provider import BarRequest, Page
from market_data.etl.registry import open_client
from market_data.etl.transformers.normalise import normalise
from market_data.etl.transformers.rules import Rules
from tests.support.command import VENDORS
from tests.support.shared_data import DATA, needs_shared_data, read

pytestmark = needs_shared_data

KEY = "R3CORDEDKEY"


@pytest.fixture(autouse=True)
def key(monkeypatch):
    for name in [name for name in os.environ if name.startswith(VENDORS)]:
        monkeypatch.delenv(name)
    for prefix in ("ALPHA_VANTAGE", "ALPACA", "FRED", "POLYGON", "STOOQ", "TIINGO", "TWELVE_DATA"):
        monkeypatch.setenv(f"{prefix}_API_KEY", KEY)
    monkeypatch.setenv("ALPACA_API_SECRET", KEY)


async def fetch(provider: str, symbol: str, interval: str, *answers, **bounds) -> list[Page]:
    """Ask a client that gets these answers in turn: names of files, (status, name), or bodies."""
    left = [answer if isinstance(answer, tuple) else (200, answer) for answer in answers]

    def answer(_: httpx2.Request) -> httpx2.Response:
        status, found = left.pop(0)
        return httpx2.Response(status, content=found if isinstance(found, bytes) else read(found))

    request = BarRequest(symbol=symbol, interval=Interval(interval), **bounds)
    async with open_client(provider, httpx2.MockTransport(answer)) as client:
        pages = [page async for page in client.fetch_bars(request)]
    assert left == []
    return pages


def bars(page: Page) -> dict[str, list]:
    columns = (page.rows.open, page.rows.high, page.rows.low, page.rows.close, page.rows.volume)
    cells = zip(*(column.tolist() for column in columns), strict=True)
    return dict(
        zip(page.rows.stamp.astype("datetime64[s]").astype(str).tolist(), map(list, cells), strict=True)
    )


def same(found: dict[str, list], expected: dict[str, list]) -> None:
    assert list(found) == list(expected)
    for stamp, cells in expected.items():
        for one, other in zip(found[stamp], cells, strict=True):
            assert one == other or (np.isnan(one) and other is None), stamp


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# ECB


def cells_of(packed: bytes) -> list[dict[str, str]]:
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        text = archive.read(archive.namelist()[0]).decode()
    return list(csv.DictReader(io.StringIO(text)))


async def test_ecb_history_cell_by_cell():
    table = cells_of(read("ecb/eurofxref-hist_2026-04-13.zip"))
    currencies = [name for name in table[0] if name not in {"Date", ""}]
    assert (len(table), len(currencies)) == (6983, 41)
    packed = read("ecb/eurofxref-hist_2026-04-13.zip")
    total, asked = 0, []

    def answer(request):
        asked.append(request.url.path)
        return httpx2.Response(200, content=packed)

    async with open_client("ecb", httpx2.MockTransport(answer)) as client:
        for currency in currencies:
            request = BarRequest(symbol=f"EUR{currency}", interval=Interval.D1)
            (page,) = [page async for page in client.fetch_bars(request)]
            rates = {row["Date"]: float(row[currency]) for row in table if row[currency] != "N/A"}
            same(bars(page), {f"{date}T00:00:00": [*[rate] * 4, None] for date, rate in rates.items()})
            assert page.listing.currency == currency
            total += len(page.rows)
    assert total == 6983 * 41 - 68748
    assert asked == ["/stats/eurofxref/eurofxref-hist.zip"]


async def test_ecb_newest_day():
    (page,) = await fetch("ecb", "EURUSD", "1d", "ecb/eurofxref-daily.xml", start=datetime.now(UTC))
    same(bars(page), {"2018-06-11T00:00:00": [1.1790, 1.1790, 1.1790, 1.1790, None]})


# Alpha Vantage


@pytest.mark.parametrize(
    ("symbol", "interval", "name", "count", "zone"),
    [
        ("IBM", "1d", "TIME_SERIES_DAILY_IBM_compact", 100, "America/New_York"),
        ("IBM", "5m", "TIME_SERIES_INTRADAY_IBM_5min", 100, "America/New_York"),
        ("EURUSD", "1d", "FX_DAILY_EURUSD", 100, "UTC"),
        ("EUR/USD", "1d", "FX_DAILY_EURUSD", 100, "UTC"),
        ("BTC/EUR", "1d", "DIGITAL_CURRENCY_DAILY_BTCEUR", 350, "UTC"),
    ],
)
async def test_alpha_vantage_csv(symbol, interval, name, count, zone):
    file = f"alphavantage/csv/{name}.csv"
    rows = list(csv.DictReader(io.StringIO(read(file).decode())))
    (page,) = await fetch("alphavantage", symbol, interval, file)
    expected = {
        f"{row['timestamp']} 00:00:00"[:19].replace(" ", "T"): [
            *(float(row[column]) for column in ("open", "high", "low", "close")),
            float(row["volume"]) if "volume" in row else None,
        ]
        for row in rows
    }
    assert len(expected) == count
    same(bars(page), expected)
    assert (page.timezone, page.wall_clock) == (zone, True)
    assert not page.rows.unreadable.any()
    assert page.rows.text(0) == read(file).decode().splitlines()[1]


@pytest.mark.parametrize(
    ("symbol", "interval", "name", "count", "volume"),
    [
        ("MSFT", "1m", "TIME_SERIES_INTRADAY_MSFT_1min_2017", 100, "5. volume"),
        ("IBM", "1d", "TIME_SERIES_DAILY_IBM_partial", 7, None),
        ("AMZN", "1d", "TIME_SERIES_DAILY_ADJUSTED_AMZN_2022", 100, "6. volume"),
    ],
)
async def test_alpha_vantage_json(symbol, interval, name, count, volume):
    file = f"alphavantage/json/{name}.json"
    (series,) = (value for key, value in json.loads(read(file)).items() if key.startswith("Time Series"))
    (page,) = await fetch("alphavantage", symbol, interval, file)
    expected = {
        f"{stamp} 00:00:00"[:19].replace(" ", "T"): [
            *(float(bar[key]) for key in ("1. open", "2. high", "3. low", "4. close")),
            float(bar[volume]) if volume else None,
        ]
        for stamp, bar in series.items()
    }
    assert len(expected) == count
    same(bars(page), expected)
    assert page.timezone == "America/New_York"


async def test_alpha_vantage_reads_the_currency_of_a_foreign_share():
    search, daily = (
        "alphavantage/csv/SYMBOL_SEARCH_tesco.csv",
        "alphavantage/csv/TIME_SERIES_DAILY_IBM_compact.csv",
    )
    (page,) = await fetch("alphavantage", "TSCO.LON", "1d", search, daily)
    listing = page.listing
    assert (listing.symbol, listing.exchange, listing.currency, listing.name) == (
        "TSCO",
        "XLON",
        "GBX",
        "Tesco PLC",
    )


# Yahoo


def chart(file: str) -> dict:
    return json.loads(read(file))["chart"]["result"][0]


YAHOO = [
    ("AAPL", "1d", "AAPL_1d_6mo.json", 127, 1, "XNAS", "USD"),
    ("AAPL", "1d", "AAPL_1d_10bars.json", 10, 0, "XNAS", "USD"),
    ("AAPL", "1mo", "AAPL_1mo_split_event.json", 61, 1, "XNAS", "USD"),
    ("TSLA", "1d", "TSLA_1d_2021-01.json", 5, 0, "XNAS", "USD"),
    ("AAPL", "1d", "AAPL_1d_2020-08-31_2020-11-07.body.json", 49, 0, "XNAS", "USD"),
    ("BTC-USD", "1d", "BTC-USD_1d.body.json", 3, 0, "CCC", "USD"),
    ("EURUSD=X", "1d", "EURUSD=X_1d.body.json", 3, 0, "FX", "USD"),
    ("OCDO.L", "1d", "OCDO.L_1d.body.json", 1, 0, "XLON", "GBX"),
    ("TSLA", "1d", "TSLA_1d_max_no_events.body.json", 3303, 0, "XNAS", "USD"),
]


@pytest.mark.parametrize(
    ("symbol", "interval", "name", "count", "running", "exchange", "currency"),
    YAHOO,
    ids=lambda value: str(value)[:30],
)
async def test_yahoo_charts(symbol, interval, name, count, running, exchange, currency):
    file = f"yahoo/chart/{name}"
    result = chart(file)
    quote = result["indicators"]["quote"][0]
    columns = [quote[column] for column in ("open", "high", "low", "close", "volume")]
    (page,) = await fetch("yahoo", symbol, interval, file)
    expected = {
        datetime.fromtimestamp(stamp, UTC).strftime("%Y-%m-%dT%H:%M:%S"): list(cells)
        for stamp, *cells in zip(result["timestamp"], *columns, strict=True)
    }
    assert len(expected) == count
    same(bars(page), expected)
    assert page.rows.running.tolist() == [False] * (count - running) + [True] * running
    assert (page.listing.exchange, page.listing.currency) == (exchange, currency)
    assert page.timezone == result["meta"]["exchangeTimezoneName"]


async def test_yahoo_dates_follow_the_zone_over_the_change_of_clocks():
    (page,) = await fetch("yahoo", "AAPL", "1d", "yahoo/chart/AAPL_1d_2020-08-31_2020-11-07.body.json")
    stamps = [stamp.item().replace(tzinfo=UTC) for stamp in page.rows.stamp]
    assert {stamp.strftime("%H:%M") for stamp in stamps} == {"13:30", "14:30"}
    local = [stamp.astimezone(ZoneInfo(page.timezone)) for stamp in stamps]
    assert {stamp.strftime("%H:%M") for stamp in local} == {"09:30"}
    assert (local[0].date().isoformat(), local[-1].date().isoformat()) == ("2020-08-31", "2020-11-06")


async def test_yahoo_prices_are_split_adjusted():
    """AAPL split 4:1 on 2020-08-31; LEAN's prices are as traded, in ten-thousandths of a dollar."""
    with zipfile.ZipFile(io.BytesIO(read("lean/equity/usa/daily/aapl.zip"))) as archive:
        rows = archive.read(archive.namelist()[0]).decode().splitlines()
    traded = {row[:8]: int(row.split(",")[4]) / 10_000 for row in rows}
    (page,) = await fetch("yahoo", "AAPL", "1mo", "yahoo/chart/AAPL_1mo_split_event.json")
    closes = {stamp: cells[3] for stamp, cells in bars(page).items()}
    assert closes["2020-07-01T04:00:00"] == pytest.approx(traded["20200731"] / 4, rel=1e-3)
    assert closes["2020-09-01T04:00:00"] == pytest.approx(traded["20200930"], rel=1e-3)


async def test_yahoo_without_data_and_currency_knows_no_such_symbol():
    with pytest.raises(exceptions.SymbolNotFound):
        await fetch("yahoo", "CAPIO.ST", "1d", "yahoo/errors/200_empty_no_timestamp_CAPIO.ST.json")


# Binance


KLINES = [
    ("BTCUSDT", "5m", "klines_BTCUSDT_5m_limit24.json", 24, "2020-04-15T21:50:00", "2020-04-15T23:45:00"),
    ("BTCUSDT", "1m", "klines_BTCUSDT_1m_1h_window.json", 60, "2020-05-06T04:42:00", "2020-05-06T05:41:00"),
    ("BTCUSDT", "1d", "klines_BTCUSDT_1d_2019.json", 365, "2019-01-01T00:00:00", "2019-12-31T00:00:00"),
    ("ETHBTC", "1d", "klines_ETHBTC_1d_2019.json", 366, "2019-01-01T00:00:00", "2020-01-01T00:00:00"),
    ("BTCUSDT", "1h", "klines_BTCUSDT_1h_page2.json", 468, "2020-06-11T13:00:00", "2020-07-01T03:00:00"),
]


def klines(name: str) -> dict[str, list]:
    return {
        datetime.fromtimestamp(row[0] / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S"): [
            float(cell) for cell in row[1:6]
        ]
        for row in json.loads(read(f"binance/rest/{name}"))
    }


@pytest.mark.parametrize(("symbol", "interval", "name", "count", "first", "last"), KLINES)
async def test_binance_klines(symbol, interval, name, count, first, last):
    (page,) = await fetch("binance", symbol, interval, f"binance/rest/{name}")
    expected = klines(name)
    assert (len(expected), next(iter(expected)), list(expected)[-1]) == (count, first, last)
    same(bars(page), expected)
    assert page.listing.currency == ("BTC" if symbol == "ETHBTC" else "USDT")


async def test_binance_pages_meet_and_show_the_outage():
    names = ["klines_BTCUSDT_1h_page1.json", "klines_BTCUSDT_1h_page2.json"]
    pages = await fetch(
        "binance", "BTCUSDT", "1h", *(f"binance/rest/{name}" for name in names), start=day("2020-04-30")
    )
    stamps = np.concatenate([page.rows.stamp for page in pages]).astype("datetime64[h]")
    assert [len(page.rows) for page in pages] == [1000, 468]
    assert [str(page.rows.stamp[i])[:13] for page, i in zip(pages, (-1, 0), strict=True)] == [
        "2020-06-11T12",
        "2020-06-11T13",
    ]
    whole = np.arange(stamps[0], stamps[-1] + 1)
    missing = sorted(set(whole.astype(str)) - set(stamps.astype(str)))
    assert missing == ["2020-06-28T02", "2020-06-28T03", "2020-06-28T04"]


# Kraken


def clock(seconds: int | str) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%S")


@pytest.mark.parametrize(
    ("interval", "name", "count"),
    [("1m", "OHLC_XBTUSD_1m_720.json", 720), ("1d", "OHLC_XBTUSD_1d_trimmed.json", 10)],
)
async def test_kraken_bars(interval, name, count):
    file = f"kraken/rest/{name}"
    (page,) = await fetch("kraken", "XBTUSD", interval, file)
    rows = json.loads(read(file))["result"]["XXBTZUSD"]
    expected = {clock(row[0]): [float(row[at]) for at in (1, 2, 3, 4, 6)] for row in rows}
    assert len(expected) == count
    same(bars(page), expected)
    assert page.rows.running.tolist() == [False] * (count - 1) + [True]
    assert (page.listing.symbol, page.listing.currency) == ("XBTUSD", "USD")


# Coinbase


@pytest.mark.parametrize(
    ("symbol", "interval", "name", "count", "start", "end"),
    [
        ("BTC-USD", "1m", "exchange_candles_BTC-USD_1m.json", 10, "2018-02-01", "2018-02-01T00:10"),
        ("BTC-USD", "1d", "exchange_candles_BTC-USD_1d.json", 10, "2026-08-01", "2026-08-11"),
        ("BTC-EUR", "1d", "pricehist_BTC-EUR_2020-01-01--2020-10-16.json", 2, "2020-01-01", "2020-10-17"),
    ],
)
async def test_coinbase_candles(symbol, interval, name, count, start, end):
    file = f"coinbase/{name}"
    (page,) = await fetch("coinbase", symbol, interval, file, start=day(start), end=day(end))
    candles = json.loads(read(file))[::-1]
    expected = {clock(row[0]): [row[at] for at in (3, 2, 1, 4, 5)] for row in candles}
    assert len(expected) == count
    same(bars(page), expected)
    assert page.listing.currency == symbol[-3:]


async def test_coinbase_and_kraken_agree_on_a_day():
    (kraken,) = await fetch("kraken", "XBTUSD", "1d", "kraken/rest/OHLC_XBTUSD_1d_trimmed.json")
    (coinbase,) = await fetch(
        "coinbase",
        "BTC-USD",
        "1d",
        "coinbase/exchange_candles_BTC-USD_1d.json",
        start=day("2026-08-01"),
        end=day("2026-08-11"),
    )
    ours, theirs = bars(kraken), bars(coinbase)
    both = sorted(set(ours) & set(theirs))
    assert both == ["2026-08-08T00:00:00", "2026-08-09T00:00:00", "2026-08-10T00:00:00"]
    for stamp in both:
        assert ours[stamp][:4] == pytest.approx(theirs[stamp][:4], rel=2e-3)


# Bitstamp


BITSTAMP = "bitstamp/ohlc_btcusd_1d_page.json"


async def test_bitstamp_page_with_a_day_that_came_twice():
    (page,) = await fetch(
        "bitstamp", "btcusd", "1d", BITSTAMP, start=day("2017-04-07"), end=day("2020-01-01")
    )
    rows = json.loads(read(BITSTAMP))["data"]["ohlc"]
    names = ("open", "high", "low", "close", "volume")
    expected = {clock(row["timestamp"]): [float(row[name]) for name in names] for row in rows}
    assert (len(rows), len(page.rows), len(expected)) == (1000, 1000, 999)
    same(bars(page), expected)
    assert bars(page)["2019-01-09T00:00:00"][3] == 4002.13
    assert (page.listing.symbol, page.listing.currency) == ("BTCUSD", "USD")


async def test_bitstamp_cuts_what_precedes_the_range_and_asks_what_was_recorded():
    (recorded,) = (one for one in json.loads(read("replay.json")) if one["provider"] == "bitstamp")
    asked = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url)
        return httpx2.Response(200, content=read(recorded["file"]))

    request = BarRequest(
        symbol="btcusd", interval=Interval.D1, start=day("2019-01-01"), end=day("2020-01-01")
    )
    async with open_client("bitstamp", httpx2.MockTransport(answer)) as client:
        (page,) = [page async for page in client.fetch_bars(request)]
    assert len(page.rows) == 366
    assert str(page.rows.stamp[0])[:10] == "2019-01-01"
    (url,) = asked
    theirs = urlsplit(recorded["url"])
    assert (url.host, url.path) == (theirs.hostname, theirs.path)
    assert dict(url.params) == dict(parse_qsl(theirs.query))


# Binance's archive


def archive_of(file: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(file.rpartition("/")[2].removeprefix("spot_with_header_"), read(file))
    return packed.getvalue()


async def from_archive(start: str, end: str, *names: str) -> list[Page]:
    """Let these recorded tables be all months of hours there are."""
    files = {name[-11:-4]: archive_of(f"binance/public_data/{name}") for name in names}

    def answer(request: httpx2.Request) -> httpx2.Response:
        name = request.url.path.rpartition("/")[2].removesuffix(".CHECKSUM")
        file = files.get(name[-11:-4])
        if file is None:
            return httpx2.Response(404)
        beside = request.url.path.endswith(".CHECKSUM")
        return httpx2.Response(
            200, content=f"{hashlib.sha256(file).hexdigest()}  {name}".encode() if beside else file
        )

    request = BarRequest(symbol="BTCUSDT", interval=Interval.H1, start=day(start), end=day(end))
    async with open_client("binancearchive", httpx2.MockTransport(answer)) as client:
        return [page async for page in client.fetch_bars(request)]


def archived(name: str, per_second: int) -> dict[str, list]:
    rows = csv.reader(io.StringIO(read(f"binance/public_data/{name}").decode()))
    return {
        datetime.fromtimestamp(int(row[0]) / per_second, UTC).strftime("%Y-%m-%dT%H:%M:%S"): [
            float(cell) for cell in row[1:6]
        ]
        for row in rows
        if row[0].isdecimal()
    }


async def test_binance_archive_over_the_change_of_units():
    old, new = "BTCUSDT-1h-2024-12.csv", "BTCUSDT-1h-2025-01.csv"
    first, second = await from_archive("2024-11-01", "2025-03-01", old, new)
    same(bars(first), archived(old, 1_000))
    same(bars(second), archived(new, 1_000_000))
    stamps = np.concatenate([first.rows.stamp, second.rows.stamp])
    assert (len(stamps), str(stamps[743])[:13], str(stamps[744])[:13]) == (
        1488,
        "2024-12-31T23",
        "2025-01-01T00",
    )
    assert (np.diff(stamps) == np.timedelta64(1, "h")).all()
    assert (first.listing.symbol, first.listing.currency) == ("BTCUSDT", "USDT")


async def test_binance_archive_with_a_header():
    (page,) = await from_archive("2023-01-01", "2023-02-01", "spot_with_header_BTCUSDT-1h-2023-01.csv")
    same(bars(page), archived("spot_with_header_BTCUSDT-1h-2023-01.csv", 1_000))
    assert len(page.rows) == 744


# LEAN


LEAN_FILES = [
    ("equity/usa/aapl", "1d", ["equity/usa/daily/aapl.zip"], 5849),
    ("equity/usa/bac", "1d", ["equity/usa/daily/bac.zip"], 5849),
    ("equity/usa/ibm", "1d", ["equity/usa/daily/ibm.zip"], 5849),
    ("equity/usa/spy", "1d", ["equity/usa/daily/spy.zip"], 5849),
    ("equity/usa/spy", "1h", ["equity/usa/hour/spy.zip"], 40832),
    (
        "equity/usa/aapl",
        "1m",
        [f"equity/usa/minute/aapl/{day}_trade.zip" for day in (20140605, 20140606, 20140609)],
        686 + 783 + 834,
    ),
    (
        "equity/usa/spy",
        "1m",
        [f"equity/usa/minute/spy/{day}_trade.zip" for day in (20131007, 20131008)],
        828 + 828,
    ),
    ("crypto/coinbase/btcusd", "1d", ["crypto/coinbase/daily/btcusd_trade.zip"], 1318),
    ("crypto/coinbase/btcusd", "1m", ["crypto/coinbase/minute/btcusd/20180404_trade.zip"], 1007),
    ("forex/oanda/eurusd", "1d", ["forex/oanda/daily/eurusd.zip"], 3738),
    (
        "forex/oanda/eurusd",
        "1m",
        [f"forex/oanda/minute/eurusd/{day}_quote.zip" for day in (20140504, 20140505)],
        157 + 1350,
    ),
]


@pytest.fixture
def lean(tmp_path, monkeypatch) -> None:
    """The folder of real data, and beside it what it lacks to say what a crypto pair is."""
    for kind in ("equity", "crypto", "forex"):
        (tmp_path / kind).symlink_to(DATA / "lean" / kind)
    (tmp_path / "symbol-properties").mkdir()
    table = "market,symbol,type,description,quote_currency\ncoinbase,BTCUSD,crypto,Bitcoin-US Dollar,USD\n"
    (tmp_path / "symbol-properties" / "symbol-properties-database.csv").write_text(table)
    monkeypatch.setenv("LEAN_FOLDER", str(tmp_path))


def lean_bars(file: str, kind: str) -> dict[str, list]:
    """Read a file by the book: a loop, and decimals."""
    with zipfile.ZipFile(DATA / "lean" / file) as archive:
        rows = csv.reader(io.StringIO(archive.read(archive.namelist()[0]).decode()))
    midnight = day(f"{file[-18:-14]}-{file[-14:-12]}-{file[-12:-10]}") if "/minute/" in file else None
    found = {}
    for time, *cells in rows:
        stamp = (
            midnight + timedelta(milliseconds=int(time))
            if midnight
            else datetime.strptime(time, "%Y%m%d %H:%M").replace(tzinfo=UTC)
        )
        if kind == "forex":
            bid, ask = cells[:4], cells[5:9]
            pairs = zip(bid, ask, strict=True)
            values = [*(float((Decimal(one) + Decimal(other)) / 2) for one, other in pairs), None]
        else:
            scale = 10_000 if kind == "equity" else 1
            values = [*(float(Decimal(cell) / scale) for cell in cells[:4]), float(cells[4])]
        found[stamp.strftime("%Y-%m-%dT%H:%M:%S")] = values
    return found


async def lean_pages(symbol: str, interval: str) -> list[Page]:
    async with open_client("lean") as client:
        request = BarRequest(symbol=symbol, interval=Interval(interval))
        return [page async for page in client.fetch_bars(request)]


@pytest.mark.parametrize(
    ("symbol", "interval", "files", "count"), LEAN_FILES, ids=lambda value: str(value)[:25]
)
async def test_lean_cell_by_cell(lean, symbol, interval, files, count):
    pages = await lean_pages(symbol, interval)
    kind = symbol.partition("/")[0]
    for page, file in zip(pages, files, strict=True):
        same(bars(page), lean_bars(file, kind))
        assert not page.rows.unreadable.any()
        assert page.wall_clock
    assert sum(len(page.rows) for page in pages) == count


@pytest.mark.parametrize(
    ("symbol", "interval"), sorted({(symbol, interval) for symbol, interval, _, _ in LEAN_FILES})
)
async def test_what_becomes_of_leans_rows(lean, symbol, interval):
    """All of them are valid bars."""
    pages = await lean_pages(symbol, interval)
    for page in pages:
        rules = Rules(
            interval=Interval(interval),
            now=datetime.now(UTC),
            timezone=page.timezone,
            wall_clock=page.wall_clock,
        )
        found = normalise(page.rows, rules)
        assert found.duplicates == found.unfinished == 0
        assert found.rejections.total == 0
        assert len(found.bars) == len(page.rows)


async def test_lean_prices_are_as_traded(lean):
    (page,) = await lean_pages("equity/usa/aapl", "1d")
    closes = {stamp: cells[3] for stamp, cells in bars(page).items()}
    assert [
        closes[f"{date}T00:00:00"] for date in ("2014-06-06", "2014-06-09", "2020-08-28", "2020-08-31")
    ] == [
        645.57,
        93.70,
        499.23,
        129.04,
    ]


def test_zones_are_those_of_leans_own_table():
    entries = json.loads(read("lean/market-hours/market-hours-database.json"))["entries"]
    found = {}
    for key, entry in entries.items():
        kind, market, _ = key.split("-", 2)
        found.setdefault((kind.lower(), market), set()).add(entry["dataTimeZone"])
    names = {"UTC-05": "Etc/GMT+5"}
    for (kind, market), zones in found.items():
        known = _Place(kind, market, "x").zone if kind in {"equity", "crypto", "forex"} else None
        assert known is None or {names.get(zone, zone) for zone in zones} == {known}
    assert len([1 for kind, _ in found if kind == "crypto"]) > 5


# Stooq


@pytest.mark.parametrize(
    ("symbol", "name", "count", "fractions", "asset_class"),
    [
        ("aapl.us", "aapl_us_d", 4098, 0, "equity"),
        ("qqq.us", "qqq_us_d_2025", 207, 0, "equity"),
        ("eurusd", "eurusd_d", 4125, 0, "fx"),
        ("wig20", "wig20_d", 8216, 6, "index"),
    ],
)
async def test_stooq_tables(symbol, name, count, fractions, asset_class):
    file = f"stooq/{name}.csv"
    header, *lines = list(csv.reader(io.StringIO(read(file).decode())))
    (page,) = await fetch("stooq", symbol, "1d", file)
    expected = {
        f"{line[0]}T00:00:00": [*map(float, line[1:5]), float(line[5]) if len(header) == 6 else None]
        for line in lines
    }
    assert len(expected) == count
    same(bars(page), expected)
    assert not page.rows.unreadable.any()
    assert np.count_nonzero(page.rows.volume % 1 > 0) == fractions
    assert page.listing.asset_class == asset_class
    assert page.rows.text(0) == ",".join(lines[0])


async def test_stooq_prices_are_adjusted_for_splits_and_dividends():
    """AAPL split 4:1 on 2020-08-31 and paid dividends before and after; LEAN's prices are as traded."""
    with zipfile.ZipFile(io.BytesIO(read("lean/equity/usa/daily/aapl.zip"))) as archive:
        rows = archive.read(archive.namelist()[0]).decode().splitlines()
    traded = {row[:8]: int(row.split(",")[4]) / 10_000 for row in rows}
    (page,) = await fetch("stooq", "aapl.us", "1d", "stooq/aapl_us_d.csv")
    closes = {stamp: cells[3] for stamp, cells in bars(page).items()}
    before = closes["2020-08-28T00:00:00"] / traded["20200828"]
    after = closes["2020-08-31T00:00:00"] / traded["20200831"]
    assert before * 4 == pytest.approx(after, rel=1e-3)
    assert 0.95 < after < 0.985


# Tiingo


async def test_tiingo_days_are_raw():
    meta, prices = "tiingo/GOOGL_meta.body.json", "tiingo/GOOGL_daily_2015.body.json"
    (page,) = await fetch("tiingo", "GOOGL", "1d", meta, prices)
    columns = ("open", "high", "low", "close", "volume")
    same(
        bars(page),
        {f"{row['date'][:10]}T00:00:00": [row[name] for name in columns] for row in json.loads(read(prices))},
    )
    listing = page.listing
    assert (listing.symbol, listing.exchange, listing.currency) == ("GOOGL", "XNAS", "USD")
    assert listing.name == 'Alphabet Inc.("Google") - Class A'
    assert (page.timezone, page.wall_clock) == ("America/New_York", True)


async def test_tiingo_weeks_are_labelled_by_their_last_day():
    files = "tiingo/GOOGL_meta.body.json", "tiingo/GOOGL_weekly.body.json"
    (page,) = await fetch("tiingo", "GOOGL", "1w", *files)
    days = page.rows.stamp.astype("datetime64[D]")
    assert days.astype(str).tolist() == ["2018-01-05", "2018-01-12", "2018-01-19"]
    starts = Interval.W1.floor(page.rows.stamp).astype("datetime64[D]")
    assert starts.astype(str).tolist() == ["2018-01-01", "2018-01-08", "2018-01-15"]


# Twelve Data


async def test_twelve_data_minutes():
    (page,) = await fetch("twelvedata", "AAPL", "1m", "twelvedata/time_series_AAPL_1min.json")
    same(bars(page), {"2021-03-01T15:59:00": [127.6399, 127.93, 127.63, 127.79, 1691294.0]})
    assert (page.timezone, page.wall_clock, page.listing.exchange) == ("America/New_York", True, "XNAS")


async def test_twelve_data_minutes_newest_first():
    """Its source wrote the numbers without quotes and put the answer into a list: both are undone."""
    (answer,) = json.loads(read("twelvedata/time_series_AAPL_1min_30rows_numeric.json"))
    expected = {}
    for value in answer["values"]:
        cells = [value[name] for name in ("open", "high", "low", "close", "volume")]
        expected[value["datetime"].replace(" ", "T")] = cells
        value |= {name: str(cell) for name, cell in value.items()}
    (page,) = await fetch("twelvedata", "AAPL", "1m", json.dumps(answer).encode())
    assert len(expected) == 30
    same(bars(page), expected)


# Polygon


async def test_polygon_days_start_at_midnight_in_new_york():
    """Recorded with adjusted prices, which the client refuses: the mark is taken off for this test."""
    body = read("polygon/aggs_AAPL_1day_2005.json")
    raw = body.replace(b'"adjusted": true', b'"adjusted": false')
    assert raw != body
    (page,) = await fetch("polygon", "AAPL", "1d", raw, start=day("2005-04-01"), end=day("2005-04-05"))
    expected = {
        f"{datetime.fromtimestamp(row['t'] / 1000, UTC):%Y-%m-%dT%H:%M:%S}": [row[name] for name in "ohlcv"]
        for row in json.loads(body)["results"]
    }
    assert list(expected) == ["2005-04-01T05:00:00", "2005-04-04T04:00:00"]
    same(bars(page), expected)
    assert (page.timezone, page.wall_clock) == ("America/New_York", False)


# Alpaca


@pytest.mark.parametrize(
    ("symbol", "interval", "name", "first"),
    [
        ("AMZN", "15m", "bars_AMZN_15Min", "2021-10-15T16:00:00"),
        ("AAPL", "1d", "bars_AAPL_1Day_page_with_token", "2022-02-01T05:00:00"),
    ],
)
async def test_alpaca_bars(symbol, interval, name, first):
    file = f"alpaca/{name}.json"
    answer = json.loads(read(file))
    further = ["alpaca/bars_empty.json"] if answer["next_page_token"] else []
    (page,) = await fetch("alpaca", symbol, interval, file, *further, start=day("2021-10-01"))
    expected = {row["t"].rstrip("Z"): [row[name] for name in "ohlcv"] for row in answer["bars"][symbol]}
    assert next(iter(expected)) == first
    same(bars(page), expected)
    assert (page.timezone, page.wall_clock) == ("America/New_York", False)


# FRED


def described(symbol: str) -> bytes:
    series = {"id": symbol, "title": "A rate", "frequency": "Daily", "frequency_short": "D"}
    return json.dumps({"seriess": [series]}).encode()


FRED = ["DEXUSEU", "DEXJPUS", "DEXUSUK", "DEXKOUS", "DEXBZUS"]


@pytest.mark.parametrize("symbol", FRED)
async def test_fred_observations(symbol):
    """The description of the series is not recorded and stands in for itself."""
    file = f"fred/H10.{symbol}.body.json"
    (page,) = await fetch("fred", symbol, "1d", described(symbol), file, start=day("2026-03-01"))
    expected = {
        f"{one['date']}T00:00:00": [*[float(one["value"])] * 4, None]
        for one in json.loads(read(file))["observations"]
    }
    assert len(expected) == 10
    same(bars(page), expected)
    assert page.listing.asset_class == "rate"


# Refusals


async def test_recordings_of_another_question_are_not_stored():
    wrong = [
        ("polygon", "AAPL", "1d", ["polygon/aggs_AAPL_1day_2005.json"]),  # adjusted prices
        ("polygon", "AAPL", "1d", ["polygon/grouped_daily_one_row.json"]),
        ("alpaca", "TSLA", "1d", ["alpaca/bars_TSLA_1Day_sort_desc.json"]),
        ("fred", "GDP", "1d", [described("GDP"), "fred/GDP_initial_release.0.body.json"]),
        ("fred", "SP500", "1d", [described("SP500"), "fred/SP500_xml.xml"]),
        ("twelvedata", "AAPL", "1d", ["twelvedata/documented_batch_time_series.json"]),
        ("twelvedata", "AAPL", "1d", ["twelvedata/documented_batch_error.json"]),
        ("tiingo", "GOOGL", "1d", ["tiingo/GOOGL_daily_2015.body.json"]),
        ("tiingo", "GOOGL", "1d", ["tiingo/GOOGL_meta.body.json", "tiingo/GOOGL_daily_2015_csv.body.csv"]),
        ("tiingo", "USDCOP", "1d", ["tiingo/fx_usdcop_daily.json"]),
        ("stooq", "googl.us", "1d", ["tiingo/GOOGL_daily_2015_csv.body.csv"]),
    ]
    for provider, symbol, interval, answers in wrong:
        with pytest.raises(exceptions.MalformedAnswer):
            await fetch(provider, symbol, interval, *answers)


@pytest.mark.parametrize(
    ("provider", "symbol", "status", "file", "error"),
    [
        ("alphavantage", "IBM", 200, "alphavantage/errors/invalid_apikey_http200.json", "ProviderAuthError"),
        (
            "alphavantage",
            "IBM",
            200,
            "alphavantage/errors/rate_limit_25_per_day_Information_http200.json",
            "ProviderRateLimited",
        ),
        ("alphavantage", "IBM", 200, "alphavantage/json/GLOBAL_QUOTE_MSFT_2018.json", "MalformedAnswer"),
        ("alphavantage", "IBM", 200, "alphavantage/csv/SPLITS_IBM.csv", "MalformedAnswer"),
        (
            "alphavantage",
            "IBM",
            200,
            "alphavantage/json/TIME_SERIES_DAILY_ADJUSTED_AMZN_2022.json",
            "MalformedAnswer",
        ),
        ("binance", "BTCUSDT", 400, "binance/errors/400_-1121_invalid_symbol.json", "SymbolNotFound"),
        ("binance", "BTCUSDT", 401, "binance/errors/-2014_apikey_format.json", "ProviderAuthError"),
        ("yahoo", "SI", 404, "yahoo/errors/404_no_data_delisted_SI.body.json", "SymbolNotFound"),
        ("yahoo", "MSFT", 200, "yahoo/chart/AAPL_1d_6mo.json", "MalformedAnswer"),
        ("kraken", "NOPE", 200, "kraken/errors/EQuery_unknown_asset_pair_http200.json", "SymbolNotFound"),
        ("kraken", "ETHUSD", 200, "kraken/rest/OHLC_XBTUSD_1m_720.json", "MalformedAnswer"),
        ("kraken", "XBTUSD", 200, "kraken/rest/OHLC_XBTUSD_1m_720.json", "MalformedAnswer"),
        ("ecb", "EURUSD", 200, "ecb/EXR_csvdata_recent.body.csv", "MalformedAnswer"),
        ("twelvedata", "AAPL", 200, "twelvedata/errors/401_bad_apikey.json", "ProviderAuthError"),
        ("twelvedata", "AAPL", 401, "twelvedata/errors/401_bad_apikey.json", "ProviderAuthError"),
    ],
)
async def test_recorded_refusals(provider, symbol, status, file, error):
    with pytest.raises(exceptions.ProviderError) as caught:
        await fetch(provider, symbol, "1d", (status, file))
    assert type(caught.value).__name__ == error
    assert KEY not in str(caught.value)


async def test_coinbase_refuses_what_is_too_old():
    with pytest.raises(exceptions.UnsupportedRequest):
        await fetch(
            "coinbase",
            "BTC-USD",
            "1d",
            (400, "coinbase/errors/400_end_too_old.json"),
            start=day("2015-01-01"),
            end=day("2015-02-01"),
        )


# Requests


REPLAYED = [
    ("yahoo", "AAPL", "1d", "2020-08-31", "2020-11-07"),
    ("yahoo", "EURUSD=X", "1d", "2020-01-01", "2020-01-03"),
    ("yahoo", "OCDO.L", "1d", "2020-01-01", "2020-01-03"),
]


@pytest.mark.parametrize(("provider", "symbol", "interval", "start", "end"), REPLAYED)
async def test_requests_are_those_that_were_recorded(provider, symbol, interval, start, end):
    recorded = [entry for entry in json.loads(read("replay.json")) if entry["provider"] == provider]

    def answer(request: httpx2.Request) -> httpx2.Response:
        for entry in recorded:
            url = urlsplit(entry["url"])
            same_query = dict(parse_qsl(url.query)).items()
            wanted = {
                (name, value) for name, value in same_query if name in {"period1", "period2", "interval"}
            }
            if url.path == request.url.path and wanted <= set(request.url.params.items()) and wanted:
                return httpx2.Response(entry["status"], content=(DATA / entry["file"]).read_bytes())
        raise AssertionError(request.url)

    request = BarRequest(symbol=symbol, interval=Interval(interval), start=day(start), end=day(end))
    async with open_client(provider, httpx2.MockTransport(answer)) as client:
        assert [page async for page in client.fetch_bars(request)]


async def test_tiingo_is_asked_as_it_was_when_recorded():
    entries = json.loads(read("replay.json"))
    recorded = {entry["url"]: entry for entry in entries if entry["provider"] == "tiingo"}

    def answer(request: httpx2.Request) -> httpx2.Response:
        for url, entry in recorded.items():
            parts = urlsplit(url)
            if (parts.path, dict(parse_qsl(parts.query))) == (request.url.path, dict(request.url.params)):
                return httpx2.Response(entry["status"], content=(DATA / entry["file"]).read_bytes())
        raise AssertionError(request.url)

    span = {"start": day("2015-01-01"), "end": day("2015-01-06")}
    async with open_client("tiingo", httpx2.MockTransport(answer)) as client:
        found = client.fetch_bars(BarRequest(symbol="GOOGL", interval=Interval.D1, **span))
        assert [len(page.rows) async for page in found] == [2]


async def test_polygon_is_asked_for_the_path_that_was_recorded():
    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(f"https://{request.url.host}{request.url.path}")
        return httpx2.Response(404)

    span = {"start": day("2005-04-01"), "end": day("2005-04-05")}
    async with open_client("polygon", httpx2.MockTransport(answer)) as client:
        with pytest.raises(exceptions.SymbolNotFound):
            await anext(client.fetch_bars(BarRequest(symbol="AAPL", interval=Interval.D1, **span)))
    assert asked == [
        entry["url"].partition("?")[0]
        for entry in json.loads(read("replay.json"))
        if entry["file"] == "polygon/aggs_AAPL_1day_2005.json"
    ]
