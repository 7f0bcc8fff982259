"""Which files are asked for, over years: more than a payload file would show."""

import hashlib
import io
import re
import zipfile
from datetime import UTC, date, datetime, timedelta

import httpx2
import pytest

from market_data.core.exceptions import SymbolNotFound
from market_data.etl.clients.binancearchive import BinanceArchiveClient
from tests.support.provider_contract import Subject, ask

NOW = datetime(2025, 2, 3, 6, tzinfo=UTC)
TODAY = NOW.date()
PATH = re.compile(
    r"/data/spot/(monthly|daily)/klines/BTCUSDT/1d/(BTCUSDT-1d-(\d{4})-(\d\d)(?:-(\d\d))?)\.zip(\.CHECKSUM)?"
)


@pytest.fixture
def subject() -> Subject:
    found = Subject.load(BinanceArchiveClient)
    found.payload["now"] = NOW.isoformat()
    return found


class Archive:
    """An archive of daily bars: files of whole months until `months`, and of single days; each once asked."""

    def __init__(self, listed: date, months: date, days: date = TODAY, halted: frozenset[date] = frozenset()):
        self.listed, self.months, self.days, self.halted = listed, months, days, halted
        self.asked: list[str] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        kind, name, year, month, day, beside = PATH.fullmatch(request.url.path).groups()
        assert (kind == "daily") == (day is not None)
        first = date(int(year), int(month), int(day or 1))
        end = first + timedelta(days=1) if day else (first + timedelta(days=31)).replace(day=1)
        there = end <= (self.days if day else self.months) and end > self.listed
        self.asked.append(request.url.path.rpartition("/")[2])
        if not there or first in self.halted:
            return httpx2.Response(404, content=b"<Error><Code>NoSuchKey</Code></Error>")
        file = self.file(name, max(first, self.listed), end)
        return httpx2.Response(
            200, content=f"{hashlib.sha256(file).hexdigest()}  {name}.zip".encode() if beside else file
        )

    @staticmethod
    def file(name: str, first: date, end: date) -> bytes:
        days = [first + timedelta(days=n) for n in range((end - first).days)]
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            rows = [f"{count(day)},1.1,1.3,1.0,1.2,5.5,0,0,0,0,0,0\n" for day in days]
            archive.writestr(zipfile.ZipInfo(f"{name}.csv"), "".join(rows))
        return packed.getvalue()


def count(day: date) -> int:
    seconds = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    return seconds * (1_000_000 if day.year >= 2025 else 1_000)


async def days_of(subject: Subject, archive: Archive, **bounds: str) -> list[date]:
    run = await ask(subject, {"symbol": "BTCUSDT", "interval": "1d", **bounds}, archive)
    if run.error is not None:
        raise run.error
    return [stamp.item() for page in run.pages for stamp in page.rows.stamp.astype("datetime64[D]")]


def between(first: date, end: date, *gone: date) -> list[date]:
    return [day for n in range((end - first).days) if (day := first + timedelta(days=n)) not in gone]


LISTED = date(2023, 11, 17)
JANUARY, FEBRUARY = date(2025, 1, 1), date(2025, 2, 1)


@pytest.mark.parametrize("months", [FEBRUARY, JANUARY], ids=["all months are there", "the last is late"])
async def test_every_day_comes_once_and_in_order(subject, months):
    archive = Archive(LISTED, months)
    assert await days_of(subject, archive) == between(LISTED, TODAY)
    assert len(set(archive.asked)) == len(archive.asked)
    daily = [name for name in archive.asked if re.search(r"\d{4}-\d\d-\d\d\.zip$", name)]
    assert len(daily) == (TODAY - months).days


async def test_months_and_days_that_do_not_exist_are_passed_over(subject):
    halted = frozenset({date(2024, 3, 1), date(2025, 1, 7), date(2025, 2, 2)})
    found = await days_of(subject, Archive(LISTED, JANUARY, halted=halted))
    march = between(date(2024, 3, 1), date(2024, 4, 1))
    assert found == between(LISTED, TODAY, *halted, *march)


@pytest.mark.parametrize(
    ("start", "end", "first", "files"),
    [
        ("2024-01-31T00:00:00Z", "2024-02-01T00:00:00Z", "2024-01", 1),
        ("2024-01-31T00:00:00Z", "2024-02-01T00:00:01Z", "2024-01", 2),
        ("2024-01-31T23:59:00Z", "2024-03-01T00:00:00Z", "2024-01", 2),
        ("2025-01-15T00:00:00Z", "2025-01-16T00:00:00Z", "2025-01", 1),
        ("2025-02-01T00:00:00Z", "2025-02-02T00:00:00Z", "2025-02-01", 1),
        ("2025-02-01T12:00:00Z", None, "2025-02-01", 2),
        ("2025-02-01T12:00:00Z", "9999-12-31T23:59:59Z", "2025-02-01", 2),
    ],
)
async def test_no_more_is_asked_than_the_range_needs(subject, start, end, first, files):
    archive = Archive(LISTED, FEBRUARY)
    bounds = {"start": start} | ({"end": end} if end else {})
    assert await days_of(subject, archive, **bounds)
    assert archive.asked[0] == f"BTCUSDT-1d-{first}.zip"
    assert len(archive.asked) == 2 * files


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2025-02-03T00:00:00Z", None),
        ("2030-01-01T00:00:00Z", None),
        ("2024-01-02T00:00:00Z", "2024-01-02T00:00:00Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("0001-01-01T00:00:00Z", "2017-07-01T00:00:00Z"),
    ],
)
async def test_of_a_range_without_files_the_newest_sum_alone_is_asked(subject, start, end):
    archive = Archive(LISTED, FEBRUARY)
    bounds = {"start": start} | ({"end": end} if end else {})
    assert await days_of(subject, archive, **bounds) == []
    assert archive.asked == ["BTCUSDT-1d-2025-02-02.zip.CHECKSUM"]


async def test_a_day_that_is_not_published_yet_is_no_unknown_symbol(subject):
    archive = Archive(date(2025, 1, 20), JANUARY, days=date(2025, 2, 2))
    assert await days_of(subject, archive, start="2025-02-02T00:00:00Z") == []
    assert archive.asked[-1] == "BTCUSDT-1d-2025-02-01.zip.CHECKSUM"


async def test_a_range_after_the_last_trade_is_no_unknown_symbol(subject):
    archive = Archive(LISTED, date(2024, 3, 1), days=date(2024, 3, 1))
    assert await days_of(subject, archive, start="2024-06-01T00:00:00Z", end="2024-08-01T00:00:00Z") == []
    assert archive.asked[-1] == "BTCUSDT-1d-2024-02.zip.CHECKSUM"


@pytest.mark.parametrize("bounds", [{}, {"start": "2025-02-02T00:00:00Z"}, {"end": "2018-01-01T00:00:00Z"}])
async def test_a_symbol_without_any_file_is_unknown(subject, bounds):
    archive = Archive(TODAY, JANUARY)
    with pytest.raises(SymbolNotFound):
        await days_of(subject, archive, **bounds)
    assert len(archive.asked) < 250
