"""A provider of tests: sessions of the New York exchange in 2024, as of a clock that the test moves.

It answers with what it has by its clock, the bar that is not over included, and corrects what it published.
Its sessions are written down from the exchange's own holidays, not taken from the calendars under test.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from market_data.core.exceptions import ProviderError
from market_data.core.interval import Alignment, Basis, Interval
from market_data.core.vocabulary import AssetClass
from market_data.etl.columns import raw_bars
from market_data.etl.http import HttpClient
from market_data.etl.provider import BarRequest, Listing, Page, ProviderClient, ProviderSettings, ProviderSpec
from tests.support.pace import FakePace

NEW_YORK = ZoneInfo("America/New_York")
# https://www.nyse.com/markets/hours-calendars
HOLIDAYS = {
    date(2024, month, day)
    for month, day in [
        (1, 1),
        (1, 15),
        (2, 19),
        (3, 29),
        (5, 27),
        (6, 19),
        (7, 4),
        (9, 2),
        (11, 28),
        (12, 25),
    ]
}
HALF_DAYS = {date(2024, 7, 3), date(2024, 11, 29), date(2024, 12, 24)}
DAYS = [
    day
    for day in (date(2024, 1, 1) + timedelta(days=n) for n in range(366))
    if day.weekday() < 5 and day not in HOLIDAYS
]


def opens(day: date) -> datetime:
    return datetime.combine(day, time(9, 30), NEW_YORK).astimezone(UTC)


def closes(day: date) -> datetime:
    return datetime.combine(day, time(13) if day in HALF_DAYS else time(16), NEW_YORK).astimezone(UTC)


def starts(interval: Interval, now: datetime) -> list[datetime]:
    """Starts of all bars that have begun by now, the last perhaps not over."""
    if interval is Interval.D1:
        return [datetime.combine(day, time(), UTC) for day in DAYS if opens(day) <= now]
    found = []
    for day in DAYS:
        at = opens(day)
        while at < min(closes(day), now):
            found.append(at)
            at += interval.duration
    return found


@dataclass
class Exchange:
    """What it has and what it was asked; `now` is moved by the test."""

    now: datetime
    asked: list[BarRequest] = field(default_factory=list)
    absent: set[datetime] = field(default_factory=set)
    """Starts of bars it does not have."""
    corrected: set[datetime] = field(default_factory=set)
    """Starts of bars whose close it has changed since."""
    trouble: list[ProviderError] = field(default_factory=list)
    """Raised instead of the next answers."""
    page: int = 1_000_000
    """Bars of one page; with 0 it gives no page at all."""
    rest: float = 0
    """Seconds it takes for each page."""
    running: bool = False
    """Whether it says of its last bar that it is not over, whatever the clock says."""

    def bars(self, interval: Interval) -> dict[datetime, float]:
        """Return the closes it has: the number of the bar, and of one that is not over, half of it."""
        found = {}
        for number, start in enumerate(starts(interval, self.now), 1):
            if start in self.absent:
                continue
            day = start.date()
            over = closes(day) if interval is Interval.D1 else start + interval.duration
            close = float(number) if over <= self.now else number / 2
            found[start] = close + 1000 if start in self.corrected else close
        return found


class ExchangeSettings(ProviderSettings):
    """Where nothing is asked."""

    base_url: str = "http://exchange.invalid"


class ExchangeClient(ProviderClient):
    """Gives what the exchange of the test has."""

    exchange: Exchange
    spec = ProviderSpec(
        name="bell",
        title="Bell",
        covers="one share",
        homepage="https://exchange.invalid",
        bases={Interval.M30: Basis.RAW, Interval.H1: Basis.RAW, Interval.D1: Basis.RAW},
        asset_classes=(AssetClass.EQUITY,),
        requests_per_minute=60,
        settling=timedelta(minutes=5),
        overlap=3,
        timezone=None,
        alignment=Alignment.SESSION,
    )
    Settings = ExchangeSettings

    async def fetch_bars(self, request: BarRequest) -> AsyncIterator[Page]:
        """Yield pages, oldest first."""
        self.exchange.asked.append(request)
        if self.exchange.trouble:
            raise self.exchange.trouble.pop(0)
        start, end = request.start, request.end
        found = {
            ts: close
            for ts, close in self.exchange.bars(request.interval).items()
            if (start is None or ts >= start) and (end is None or ts < end)
        }
        if self.exchange.page:
            for first in range(0, max(len(found), 1), self.exchange.page):
                await asyncio.sleep(self.exchange.rest)
                part = dict(list(found.items())[first : first + self.exchange.page])
                yield self._page(request, part)

    def _page(self, request: BarRequest, found: dict[datetime, float]) -> Page:
        daily = request.interval is Interval.D1
        stamps = [datetime.combine(ts.date(), time(12), UTC) if daily else ts for ts in found]
        times = np.array([ts.replace(tzinfo=None) for ts in stamps], "datetime64[us]")
        values = np.array(list(found.values()), "float64")
        fine = np.zeros(len(found), "bool")
        running = fine.copy()
        running[-1:] = self.exchange.running
        rows = raw_bars((times, fine), [(values, fine)] * 4, None, lambda row: str(values[row]), running)
        listing = Listing(
            symbol=request.symbol,
            asset_class=AssetClass.EQUITY,
            currency="USD",
            exchange="XNYS",
            timezone="America/New_York",
        )
        return Page(rows=rows, listing=listing, timezone="America/New_York")


def clients_of(exchange: Exchange):
    """Return what opens clients of this exchange, in place of `open_client`."""

    @asynccontextmanager
    async def opened(name: str) -> AsyncIterator[ProviderClient]:
        assert name == "bell"
        client = ExchangeClient(
            HttpClient("bell", base_url="http://exchange.invalid", pace=FakePace()), ExchangeSettings()
        )
        client.exchange = exchange
        yield client

    return opened
