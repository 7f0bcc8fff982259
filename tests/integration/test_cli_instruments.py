"""`market-data instruments`."""

import json

import pytest

from market_data.cli import instruments as module
from tests.support.command import invoke

# The command line calls the same services as the API, whose tests ask every home.
pytestmark = pytest.mark.one_home

ADD = ["--asset-class", "equity", "--currency", "USD"]


def symbols(*args: str) -> list[str]:
    return [one["symbol"] for one in invoke("instruments", *args, "--json").json()]


def test_add_find_edit(here):
    added = invoke(
        "instruments", "add", "AAPL", "--exchange", "XNAS", *ADD, "--name", "Apple Inc.", "--json"
    ).json()
    assert (added["id"], added["timezone"], added["active"]) == (1, "UTC", True)
    full = [
        "--isin",
        "US5949181045",
        "--figi",
        "BBG000BPH459",
        "--timezone",
        "America/New_York",
        "--inactive",
    ]
    shown = invoke("instruments", "add", "MSFT", "--exchange", "XNAS", *ADD, *full)
    assert (shown.code, "US5949181045" in shown.out) == (0, True)
    assert symbols() == ["AAPL", "MSFT"]
    assert symbols("apple") == ["AAPL"]
    assert symbols("--exchange", "XLON") == []
    assert "Apple Inc." in invoke("instruments").out
    edited = invoke("instruments", "edit", "XNAS:AAPL", "--name", "Apple", "--inactive", "--json").json()
    assert (edited["name"], edited["active"]) == ("Apple", False)
    assert invoke("instruments", "edit", "2", "--active", "--json").json()["symbol"] == "MSFT"
    assert invoke("instruments", "edit", "AAPL", "--currency", "EUR", "--json").json()["currency"] == "EUR"


def test_refusals_name_the_field(here):
    given = ["instruments", "add", "AAPL", "--exchange", "XNAS", *ADD]
    assert "isin: " in invoke(*given, "--isin", "US0000000000").complaint
    assert invoke(*given).code == 0
    again = invoke(*given)
    assert (again.code, again.complaint) == (1, "error: an active instrument XNAS:AAPL exists already")
    assert invoke("instruments", "edit", "NONE", "--name", "x").code == 2
    assert invoke("instruments", "edit", "99", "--name", "x").code == 2
    assert invoke("instruments", "add", "AAPL", "--exchange", "XLON", *ADD).code == 0
    several = invoke("instruments", "edit", "AAPL", "--name", "x")
    assert (several.code, "XLON:AAPL" in several.complaint) == (2, True)


def test_what_has_bars_stays_what_it_is(apple):
    refused = invoke("instruments", "edit", "AAPL", "--currency", "EUR")
    assert (refused.code, "while instrument 1 has bars" in refused.complaint) == (1, True)


ROWS = [
    {"symbol": "KO", "exchange": "XNYS", "asset_class": "equity", "currency": "USD", "name": "Coca-Cola"},
    {
        "symbol": "VOD",
        "exchange": "XLON",
        "asset_class": "equity",
        "currency": "GBX",
        "timezone": "Europe/London",
    },
]


@pytest.mark.parametrize("ending", ["csv", "ndjson", "json"])
def test_load(ending, here, tmp_path):
    file = tmp_path / f"instruments.{ending}"
    lines = [",".join(ROWS[0] | ROWS[1])]
    lines += [",".join(row.get(name, "") for name in ROWS[0] | ROWS[1]) for row in ROWS]
    text = {"csv": "\n".join(lines), "json": json.dumps(ROWS), "ndjson": "\n".join(map(json.dumps, ROWS))}[
        ending
    ]
    file.write_text(text)
    assert invoke("instruments", "load", file).out == "2 added, 0 updated, 0 unchanged, 0 failed\n"
    again = invoke("instruments", "load", file, "--json").json()
    assert again == {"added": 0, "updated": 0, "unchanged": 2, "failed": 0}
    file.write_text(text.replace("Coca-Cola", "Coca-Cola Co"))
    assert invoke("instruments", "load", file, "--json").json()["updated"] == 1
    assert symbols() == ["KO", "VOD"]


def test_load_goes_on_after_a_bad_row(here, tmp_path):
    file = tmp_path / "instruments.json"
    file.write_text(json.dumps([ROWS[0] | {"currency": "dollars"}, ROWS[1]]))
    outcome = invoke("instruments", "load", file)
    assert (outcome.code, outcome.out) == (1, "1 added, 0 updated, 0 unchanged, 1 failed\n")
    assert "row 1: currency: " in outcome.complaint


def test_load_of_what_is_no_list(here, tmp_path):
    (tmp_path / "a.json").write_text("{")
    assert "cannot be read" in invoke("instruments", "load", tmp_path / "a.json").complaint
    (tmp_path / "a.xml").write_text("<a/>")
    assert invoke("instruments", "load", tmp_path / "a.xml").code == 2


def test_long_lists_come_whole(here, tmp_path, monkeypatch):
    rows = [ROWS[0] | {"symbol": f"S{number}"} for number in range(7)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    assert invoke("instruments", "load", tmp_path / "a.json").code == 0
    monkeypatch.setattr(module, "PAGE", 3)
    assert symbols() == [f"S{number}" for number in range(7)]
