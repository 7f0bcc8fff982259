"""`market-data import`."""

import gzip
import shlex

import polars as pl
import pytest

from tests.support.command import invoke
from tests.support.fixtures import APPLE

# The command line calls the same services as the API, whose tests ask every home.
pytestmark = pytest.mark.one_home

NEW = ["--exchange", "XNAS", "--asset-class", "equity", "--currency", "USD"]
WHOLE = ["--symbol", "AAPL", "--interval", "1d"]


def closes(symbol: str = "AAPL", *options: str) -> dict[str, float]:
    body = invoke("prices", symbol, "--json", *options).json()
    return {row["ts"][:16]: row["close"] for row in body["data"]}


def test_again_is_nothing_new(here, tmp_path):
    file = tmp_path / "aapl.csv"
    file.write_bytes(APPLE)
    first = invoke("import", file, *WHOLE, *NEW)
    assert first.code == 0
    assert first.out.endswith("succeeded: 5 inserted, 0 updated, 0 unchanged, 0 unfinished, 0 rejected\n")
    assert "added instrument XNAS:AAPL" in first.err
    assert "aapl.csv: 5 rows" in first.err  # a plain line, as this is no terminal
    again = invoke("import", file, *WHOLE, "--json").json()
    assert (again["inserted"], again["updated"], again["unchanged"]) == (0, 0, 5)
    assert closes()["2024-01-08T00:00"] == 185.56


@pytest.mark.parametrize("ending", ["parquet", "ndjson", "json", "csv.gz"])
def test_other_formats(ending, here, tmp_path):
    file = tmp_path / f"aapl.{ending}"
    table = pl.read_csv(APPLE)
    match ending:
        case "parquet":
            table.write_parquet(file)
        case "ndjson":
            table.write_ndjson(file)
        case "json":
            table.write_json(file)
        case _:
            file.write_bytes(gzip.compress(APPLE))
    outcome = invoke("import", file, *WHOLE, *NEW, "--json")
    assert (outcome.code, outcome.json()["inserted"]) == (0, 5), outcome
    assert closes()["2024-01-02T00:00"] == 185.64


def test_stdin_with_everything_said(here):
    data = b"Ticker,Day,Time,o,h,l,c\nX,02/01/2024,09:35,1,2,0.5,1.5\nX,02/01/2024,09:40,1,2,0.5,1.25\n"
    assert invoke("instruments", "add", "X", *NEW).code == 0
    outcome = invoke(
        *("import", "-", "--interval", "5m", "--source", "desk", "--basis", "split", "--label", "end"),
        *("--timezone", "America/New_York", "--ts-format", "%d/%m/%Y %H:%M"),
        *("--map", "symbol=Ticker,ts=Day+Time,open=o,high=h,low=l,close=c"),
        stdin=data,
    )
    assert outcome.code == 0, outcome
    assert closes("X", "--interval", "5m", "--source", "desk") == {
        "2024-01-02T14:30": 1.5,
        "2024-01-02T14:35": 1.25,
    }
    (run,) = invoke("runs", "--json").json()
    assert (run["source"], run["parameters"]["name"]) == ("desk", "stdin")


@pytest.mark.parametrize(
    ("given", "command"),
    [
        (["--symbol", "MSFT"], "instruments add MSFT --exchange XNAS --asset-class equity --currency USD"),
        (["--symbol", "XNYS:KO"], "instruments add KO --exchange XNYS --asset-class equity --currency USD"),
        (
            ["--symbol", "VOD", "--exchange", "XLON", "--currency", "GBX", "--timezone", "Asia/Tokyo"],
            "instruments add VOD --exchange XLON --asset-class equity --currency GBX --timezone Asia/Tokyo",
        ),
    ],
)
def test_an_unknown_instrument(given, command, here, tmp_path):
    file = tmp_path / "some.csv"
    file.write_bytes(APPLE)
    refused = invoke("import", file, *given, "--interval", "1d")
    assert refused.code == 2
    assert f"market-data {command}" in refused.complaint
    assert invoke("runs", "--json").json() == []
    assert invoke(*shlex.split(command)).code == 0
    assert invoke("import", file, *given, "--interval", "1d").code == 0


def test_a_symbol_of_several_exchanges(here):
    for exchange in ("XLON", "XNYS"):
        given = ["--exchange", exchange, "--asset-class", "equity", "--currency", "USD"]
        assert invoke("instruments", "add", "BP", *given).code == 0
    refused = invoke("import", "-", "--symbol", "BP", "--interval", "1d", stdin=APPLE)
    assert refused.code == 2
    assert "XLON:BP" in refused.complaint
    outcome = invoke("import", "-", "--symbol", "BP", "--exchange", "XNYS", "--interval", "1d", stdin=APPLE)
    assert outcome.code == 0


def test_bad_rows(apple):
    data = APPLE + b"2024-01-09,1,0.5,2,1,1\n2024-01-10,,,,,\n"
    outcome = invoke("import", "-", *WHOLE, stdin=data)
    assert outcome.code == 1
    assert "partial: 0 inserted, 0 updated, 5 unchanged, 0 unfinished, 2 rejected" in outcome.out
    assert "market-data runs 2" in outcome.err
    shown = invoke("runs", "2")
    assert '"Date": "2024-01-09"' in shown.out
    assert len(invoke("runs", "2", "--json").json()["rejections"]) == 2
    assert "1 of 2 rejected rows" in invoke("runs", "2", "--limit", "1").err
    assert invoke("import", "-", *WHOLE, "--allow-rejections", stdin=data).code == 0


def test_rows_of_unknown_symbols_are_rejected(apple):
    data = b"symbol,date,open,high,low,close\nAAPL,2024-02-01,1,1,1,1\nNONE,2024-02-01,1,1,1,1\n"
    outcome = invoke("import", "-", "--interval", "1d", stdin=data)
    assert (outcome.code, "1 inserted" in outcome.out, "1 rejected" in outcome.out) == (1, True, True)


def test_what_cannot_be_read(apple, tmp_path):
    missing = invoke("import", tmp_path / "no.csv", *WHOLE)
    assert (missing.code, missing.complaint) == (1, f"error: {tmp_path}/no.csv: No such file or directory")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not at all")
    assert invoke("import", tmp_path / "bad.parquet", *WHOLE).code == 1
    without = invoke("import", "-", *WHOLE, stdin=b"date,close\n2024-01-02,1\n")
    assert (without.code, "open: " in without.complaint) == (2, True)
    assert [run["status"] for run in invoke("runs", "--json").json()][:2] == ["failed", "failed"]
    assert "failed" in invoke("runs").out
    assert invoke("runs", "999").code == 2
