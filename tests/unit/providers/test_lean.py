"""LEAN's data from a folder on this computer, and which of its files a range needs."""

import io
import zipfile
from datetime import UTC, datetime

import httpx2
import numpy as np
import pytest

from market_data.core.exceptions import ConfigurationError, ProviderUnavailable, SymbolNotFound
from market_data.core.interval import Interval
from market_data.etl import registry
from market_data.etl.clients.lean import LeanSettings
from market_data.etl.folder import FolderTransport
from market_data.etl.pace import process_pace
from market_data.etl.provider import BarRequest, Page
from market_data.etl.registry import open_client
from market_data.etl.transformers.normalise import normalise
from market_data.etl.transformers.rules import Rules

SPRING = "20200306", "20200309"
"""Friday and Monday: New York sets its clocks forward between them."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "project_dir", lambda: tmp_path)
    monkeypatch.setenv("LEAN_FOLDER", str(tmp_path / "Data"))
    (tmp_path / "Data").mkdir()
    return tmp_path / "Data"


def write(folder, path: str, *lines: str) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("table.csv", "".join(f"{line}\n" for line in lines))
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(packed.getvalue())


async def fetch(symbol: str, interval: str, start: str | None = None, end: str | None = None) -> list[Page]:
    bounds = {
        name: datetime.fromisoformat(text).replace(tzinfo=UTC)
        for name, text in {"start": start, "end": end}.items()
        if text
    }
    async with open_client("lean") as client:
        request = BarRequest(symbol=symbol, interval=Interval(interval), **bounds)
        return [page async for page in client.fetch_bars(request)]


def starts(page: Page, interval: str) -> list[str]:
    rules = Rules(
        interval=Interval(interval),
        now=datetime(2024, 1, 1, tzinfo=UTC),
        timezone=page.timezone,
        wall_clock=page.wall_clock,
    )
    found = normalise(page.rows, rules)
    assert found.rejections.total == 0
    return np.datetime_as_string(found.bars.ts, unit="m").tolist()


async def test_a_folder_is_read_without_a_network(folder):
    write(folder, "equity/usa/daily/aapl.zip", "20200828 00:00,5042500,5057700,4983100,4992300,46907479")
    (page,) = await fetch("equity/usa/AAPL", "1d")
    assert page.rows.close.tolist() == [499.23]
    assert starts(page, "1d") == ["2020-08-28T00:00"]


async def test_minutes_follow_the_clocks_of_new_york(folder):
    for day in SPRING:
        write(folder, f"equity/usa/minute/aapl/{day}_trade.zip", "34200000,1,1,1,1,1")
    pages = await fetch("equity/usa/aapl", "1m")
    assert [starts(page, "1m") for page in pages] == [["2020-03-06T14:30"], ["2020-03-09T13:30"]]


async def test_hours_follow_the_clocks_of_new_york(folder):
    write(folder, "equity/usa/hour/spy.zip", *(f"{day} 10:00,1,1,1,1,1" for day in SPRING))
    (page,) = await fetch("equity/usa/spy", "1h")
    assert starts(page, "1h") == ["2020-03-06T15:00", "2020-03-09T14:00"]


async def test_the_clock_of_fxcm_never_changes(folder):
    quotes = ",".join(["1,1,1,1,0"] * 2)
    write(folder, "forex/fxcm/hour/eurusd.zip", *(f"{day} 10:00,{quotes}" for day in SPRING))
    write(folder, "forex/fxcm/daily/eurusd.zip", f"20200306 00:00,{quotes}")
    (hours,) = await fetch("forex/fxcm/eurusd", "1h")
    (days,) = await fetch("forex/fxcm/eurusd", "1d")
    assert starts(hours, "1h") == ["2020-03-06T15:00", "2020-03-09T15:00"]
    assert starts(days, "1d") == ["2020-03-06T00:00"]


@pytest.mark.parametrize(
    ("start", "end", "days"),
    [
        (None, None, [5, 6, 9, 10]),
        ("2020-03-06T04:59", "2020-03-07T05:00", [5, 6]),
        ("2020-03-06T05:00", "2020-03-09T04:00", [6]),
        ("2020-03-06T05:00", "2020-03-09T04:01", [6, 9]),
        ("2020-03-10T03:59", None, [9, 10]),
        ("2020-03-10T04:00", None, [10]),
        (None, "2020-03-05T05:00", []),
        ("2020-03-11T04:00", None, []),
        ("0001-01-01", "9999-12-31", [5, 6, 9, 10]),
    ],
)
async def test_days_of_minutes_are_those_the_range_touches(folder, start, end, days):
    for day in (5, 6, 9, 10):
        write(folder, f"equity/usa/minute/aapl/202003{day:02}_trade.zip", "34200000,1,1,1,1,1")
    pages = await fetch("equity/usa/aapl", "1m", start, end)
    assert [page.rows.stamp[0].item().day for page in pages if len(page.rows)] == days
    assert {page.listing.symbol for page in pages} == {"AAPL"}


async def test_what_is_not_there_is_unknown(folder):
    for interval in ("1d", "1m"):
        with pytest.raises(SymbolNotFound):
            await fetch("equity/usa/aapl", interval)


async def test_a_folder_that_is_missing_is_named(folder):
    folder.rmdir()
    with pytest.raises(ConfigurationError, match=r"LEAN_FOLDER: .*Data is no folder"):
        await fetch("equity/usa/aapl", "1d")


async def test_a_file_that_cannot_be_read_is_an_error_at_once(folder, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("market_data.etl.folder.Path.read_bytes", refuse)
    with pytest.raises(ProviderUnavailable, match=r"aapl\.zip: Permission denied"):
        await fetch("equity/usa/aapl", "1d")


async def test_a_folder_needs_no_pace_and_a_server_does(folder, monkeypatch):
    async with open_client("lean") as client:
        assert client.http.pace.step < 0.001
    monkeypatch.setenv("LEAN_REQUESTS_PER_MINUTE", "600")
    async with open_client("lean") as client:
        assert client.http.pace.step == 0.1
    monkeypatch.delenv("LEAN_FOLDER")
    async with open_client("lean") as client:
        assert client.http.pace is process_pace("lean", 600)
    assert LeanSettings(_env_file=None).transport() is None


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/in/file", 200),
        ("/base/in/file", 404),
        ("/in/", 200),
        ("/in", 404),
        ("/", 404),
        ("/in/file/", 404),
        ("/in/none", 404),
        ("/in/%2e%2e/%2e%2e/secret", 404),
        ("/%2e%2e/secret", 404),
        ("/in/%00", 404),
        ("/in/..%5c..%5csecret", 404),
        ("//secret", 404),
    ],
)
async def test_a_folder_answers_with_what_is_in_it(tmp_path, path, status):
    (tmp_path / "root" / "in").mkdir(parents=True)
    (tmp_path / "secret").write_text("no")
    (tmp_path / "root" / "in" / "file").write_text("yes")
    (tmp_path / "root" / "in" / "a").write_text("")
    transport = FolderTransport(tmp_path / "root")
    async with httpx2.AsyncClient(transport=transport, base_url="http://folder") as client:
        answer = await client.get(path)
    assert answer.status_code == status
    assert answer.text in {"", "yes", "a\nfile\n"}
    assert (answer.text == "") == (status == 404)


async def test_a_folder_may_stand_below_a_path(tmp_path):
    (tmp_path / "file").write_text("yes")
    transport = FolderTransport(tmp_path, "/data/lean/")
    async with httpx2.AsyncClient(transport=transport, base_url="http://folder/data/lean") as client:
        assert (await client.get("/file")).text == "yes"
