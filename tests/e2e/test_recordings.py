"""`market-data ingest` of real recorded answers, given out again by a server on this machine."""

import csv
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.e2e.test_providers import counts
from tests.support.command import invoke
from tests.support.shared_data import needs_shared_data, read
from tests.support.vendor import Question, Reply, serving

pytestmark = needs_shared_data

TELLING = {
    *("function", "symbol", "interval", "datatype", "startTime", "period1", "period2"),
    *("pair", "granularity", "s", "format", "resampleFreq"),
}
"""Parameters that tell one recording from another; what else was sent then and now may differ."""


def telling(params: dict[str, str]) -> set[tuple[str, str]]:
    return {(name, value) for name, value in params.items() if name in TELLING}


def recording(provider: str, asked: Question) -> str:
    """Return the file of the recording that answers best."""
    found = []
    for entry in json.loads(read("replay.json")):
        url = urlsplit(entry["url"])
        wanted = telling(dict(parse_qsl(url.query)))
        if entry["provider"] == provider and url.path == asked.path and wanted <= telling(asked.params):
            found.append((len(wanted), entry["file"]))
    assert found, asked
    return max(found)[1]


def of_csv(body: bytes) -> bytes:
    """Let the third row close where it opened."""
    rows = list(csv.reader(io.StringIO(body.decode())))
    assert rows[3][4] != rows[3][1]
    rows[3][4] = rows[3][1]
    return "\r\n".join(map(",".join, rows)).encode()


def of_table(body: bytes) -> bytes:
    return b"".join(line + b"\n" for line in of_csv(body).split(b"\r\n"))


def of_prices(body: bytes) -> bytes:
    days = json.loads(body)
    days[1]["close"] = days[1]["open"]
    return json.dumps(days).encode()


def of_klines(body: bytes) -> bytes:
    rows = json.loads(body)
    rows[2][4] = rows[2][1]
    return json.dumps(rows).encode()


def of_ohlc(body: bytes) -> bytes:
    answer = json.loads(body)
    rows = answer["result"]["XXBTZUSD"]
    assert rows[2][4] != rows[2][1]
    rows[2][4] = rows[2][1]
    return json.dumps(answer).encode()


def of_pairs(body: bytes) -> bytes:
    answer = json.loads(body)
    row = answer["data"]["ohlc"][-3]
    assert row["close"] != row["open"]
    row["close"] = row["open"]
    return json.dumps(answer).encode()


def of_candles(body: bytes) -> bytes:
    rows = json.loads(body)
    assert rows[2][4] != rows[2][3]
    rows[2][4] = rows[2][3]
    return json.dumps(rows).encode()


def of_chart(body: bytes) -> bytes:
    chart = json.loads(body)
    quote = chart["chart"]["result"][0]["indicators"]["quote"][0]
    quote["close"][2] = quote["open"][2]
    return json.dumps(chart).encode()


def of_archive(body: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        name = archive.namelist()[0]
        table = archive.read(name).decode()
    assert table.count("2024-01-02,1.0956,") == 1
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, table.replace("2024-01-02,1.0956,", "2024-01-02,1.0957,"))
    return packed.getvalue()


@dataclass(frozen=True)
class Recorded:
    """What to ask, how many bars the recordings hold, and how to change one of them."""

    provider: str
    variable: str
    args: tuple[str, ...]
    bars: int
    change: Callable[[bytes], bytes]
    changed_file: str
    unfinished: int = 0
    rejected: int = 0


RECORDED = [
    Recorded(
        "alphavantage",
        "ALPHA_VANTAGE_BASE_URL",
        ("IBM", "--exchange", "XNYS"),
        100,
        of_csv,
        "alphavantage/csv/TIME_SERIES_DAILY_IBM_compact.csv",
    ),
    Recorded(
        "binance",
        "BINANCE_BASE_URL",
        ("BTCUSDT", "--interval=1h", "--start=2020-04-30T21:00:00Z", "--end=2020-07-01T04:00:00Z"),
        1468,
        of_klines,
        "binance/rest/klines_BTCUSDT_1h_page2.json",
    ),
    Recorded(  # 2019-01-09 came twice with different values
        "bitstamp",
        "BITSTAMP_BASE_URL",
        ("btcusd", "--start=2019-01-01", "--end=2020-01-01", "--allow-rejections"),
        365,
        of_pairs,
        "bitstamp/ohlc_btcusd_1d_page.json",
        rejected=1,
    ),
    Recorded(
        "coinbase",
        "COINBASE_BASE_URL",
        ("BTC-USD", "--interval=1m", "--start=2018-02-01", "--end=2018-02-01T00:10:00Z"),
        10,
        of_candles,
        "coinbase/exchange_candles_BTC-USD_1m.json",
    ),
    Recorded("ecb", "ECB_BASE_URL", ("EURUSD",), 6983, of_archive, "ecb/eurofxref-hist_2026-04-13.zip"),
    Recorded("stooq", "STOOQ_BASE_URL", ("eurusd",), 4125, of_table, "stooq/eurusd_d.csv"),
    Recorded(
        "stooq",
        "STOOQ_BASE_URL",
        ("aapl.us", "--exchange", "XNAS"),
        4098,
        of_table,
        "stooq/aapl_us_d.csv",
    ),
    Recorded(
        "tiingo",
        "TIINGO_BASE_URL",
        ("GOOGL", "--start", "2015-01-01", "--end", "2015-01-06"),
        2,
        of_prices,
        "tiingo/GOOGL_daily_2015.body.json",
    ),
    Recorded(
        "kraken",
        "KRAKEN_BASE_URL",
        ("XBTUSD", "--interval=1m"),
        719,
        of_ohlc,
        "kraken/rest/OHLC_XBTUSD_1m_720.json",
        unfinished=1,
    ),
    Recorded(
        "yahoo",
        "YAHOO_BASE_URL",
        ("AAPL", "--start", "2020-08-31", "--end", "2020-11-07"),
        49,
        of_chart,
        "yahoo/chart/AAPL_1d_2020-08-31_2020-11-07.body.json",
    ),
]


@pytest.mark.parametrize("one", RECORDED, ids=lambda one: f"{one.provider} {one.args[0]}")
def test_real_answers_twice_and_one_value_changed(one, here):
    changed = False

    def answer(asked: Question) -> Reply:
        file = recording(one.provider, asked)
        body = read(file)
        return Reply(one.change(body) if changed and file == one.changed_file else body)

    for prefix in ("ALPHA_VANTAGE", "STOOQ", "TIINGO"):
        here.setenv(f"{prefix}_API_KEY", "demo")
    with serving(answer) as vendor:
        here.setenv(one.variable, vendor.url)
        seen = []
        for changed in (False, False, True):  # noqa: B007 # read by `answer`
            outcome = invoke("ingest", one.provider, *one.args, "--json")
            assert outcome.code == 0, outcome
            seen.append(counts(outcome.json()))
    left = (one.unfinished, one.rejected)
    assert seen == [(one.bars, 0, 0, *left), (0, 0, one.bars, *left), (0, 1, one.bars - 1, *left)]
