"""`market-data prices`, `delete` and `series`."""

import json
import os
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from market_data.api.encoders import ENCODERS
from market_data.cli import prices as module
from tests.support.command import invoke

# The command line calls the same services as the API, whose tests ask every home.
pytestmark = pytest.mark.one_home

FORMATS = ["csv", "json", "ndjson", "parquet", "arrow"]


def frame(output_format: str, raw: bytes) -> pl.DataFrame:
    match output_format:
        case "csv":
            found = pl.read_csv(raw, schema_overrides={"volume": pl.Float64})
        case "json":
            found = pl.DataFrame(json.loads(raw)["data"], schema_overrides={"volume": pl.Float64})
        case "ndjson":
            found = pl.read_ndjson(raw, schema_overrides={"volume": pl.Float64})
        case "parquet":
            found = pl.read_parquet(raw)
        case _:
            found = pl.from_arrow(pa.ipc.open_stream(raw).read_all())
    if found["ts"].dtype != pl.String:
        found = found.with_columns(pl.col("ts").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    return found.with_columns(pl.col("symbol").cast(pl.String))


def test_all_formats_say_the_same(apple, tmp_path):
    frames = {}
    for name in FORMATS:
        printed = invoke("prices", "AAPL", "--format", name)
        assert printed.code == 0
        file = tmp_path / f"bars.{name}"
        assert invoke("prices", "XNAS:AAPL", "-o", file).code == 0
        frames[name] = frame(name, printed.raw)
        written = frame(name, file.read_bytes())
        assert written.drop("symbol").equals(frames[name].drop("symbol"))
    assert all(one.equals(frames["csv"]) for one in frames.values())
    assert frames["csv"]["close"].to_list() == [185.64, 184.25, 181.91, 181.18, 185.56]
    assert frames["csv"]["volume"].to_list()[-1] is None


def test_a_table_for_people(apple):
    lines = invoke(
        "prices", "AAPL", "--start", "2024-01-03", "--end", "2024-01-05", "--sort", "desc"
    ).out.splitlines()
    assert lines[0].split() == ["symbol", "ts", "open", "high", "low", "close", "volume"]
    assert [line.split()[1] for line in lines[1:]] == ["2024-01-04T00:00:00Z", "2024-01-03T00:00:00Z"]


def test_a_long_table_ends_with_a_remark(apple, monkeypatch):
    monkeypatch.setattr(module, "TABLE_ROWS", 2)
    outcome = invoke("prices", "AAPL")
    assert len(outcome.out.splitlines()) == 3
    assert "the first 2 bars" in outcome.err


def test_json_for_short(apple):
    assert invoke("prices", "AAPL", "--json").json() == invoke("prices", "AAPL", "--format", "json").json()


def test_nothing_in_range(apple):
    outcome = invoke("prices", "AAPL", "--start", "2030-01-01", "--format", "csv")
    assert (outcome.code, outcome.out) == (0, "symbol,ts,open,high,low,close,volume\n")
    assert "no 1d bars of AAPL in this range" in outcome.err


def test_unknown_symbols(apple):
    outcome = invoke("prices", "NONE")
    assert (outcome.code, outcome.complaint) == (2, "error: no instrument known as NONE")


@pytest.mark.usefixtures("apple")
class TestAFileThatFails:
    @pytest.fixture(autouse=True)
    def _breaks(self, monkeypatch):
        async def stream(self):
            yield b"half"
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(ENCODERS["csv"], "stream", stream)

    def test_leaves_nothing(self, tmp_path):
        outcome = invoke("prices", "AAPL", "-o", tmp_path / "new.csv")
        assert (outcome.code, outcome.complaint) == (1, "error: No space left on device")
        assert list(tmp_path.iterdir()) == []

    def test_leaves_what_was_there(self, tmp_path):
        (tmp_path / "old.csv").write_text("old")
        assert invoke("prices", "AAPL", "-o", tmp_path / "old.csv").code == 1
        assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("old.csv", "old")]


def test_a_file_behind_a_link(apple, tmp_path):
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to("real.csv")
    assert invoke("prices", "AAPL", "-o", tmp_path / "link.csv").code == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text().startswith("symbol,ts,")


def test_a_device_is_written_to_directly(apple):
    assert invoke("prices", "AAPL", "-o", os.devnull, "--format", "csv").code == 0
    assert not Path(os.devnull).is_file()


def test_a_folder_that_is_not_there(apple, tmp_path):
    outcome = invoke("prices", "AAPL", "-o", tmp_path / "no/bars.csv")
    assert (outcome.code, "No such file" in outcome.complaint) == (1, True)


def test_binary_formats_are_not_for_terminals(apple, monkeypatch):
    monkeypatch.setattr(module, "_on_terminal", lambda: True)
    outcome = invoke("prices", "AAPL", "--format", "parquet")
    assert (outcome.code, "add -o FILE" in outcome.complaint) == (2, True)


def test_what_is_stored(apple):
    (one,) = invoke("series", "AAPL", "--interval", "1d", "--source", "file", "--json").json()
    assert (one["symbol"], one["source"], one["basis"], one["count"]) == ("AAPL", "file", "raw", 5)
    assert (one["first"], one["last"]) == ("2024-01-02T00:00:00Z", "2024-01-08T00:00:00Z")
    assert "AAPL" in invoke("series").out
    assert invoke("series", "--source", "ecb", "--json").json() == []
    assert invoke("series", "NONE").code == 2


def test_a_bad_import_is_taken_back(apple):
    given = ["delete", "AAPL", "--interval", "1d", "--source", "file"]
    refused = invoke(*given)
    assert (refused.code, "add --yes" in refused.complaint) == (2, True)
    some = invoke(*given, "--start", "2024-01-03", "--end", "2024-01-05", "--yes")
    assert (some.code, some.out) == (0, "2 bars deleted\n")
    assert invoke(*given, "--basis", "split", "--yes", "--json").json() == {"deleted": 0}
    assert invoke(*given, "--yes", "--json").json() == {"deleted": 3}
