"""Real and made-up data for dashboards, put in the way everything goes in; and what panels ask of it."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx2
from grafana.__main__ import dashboards, panels
from grafana.query import Query
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from market_data.core.config import Settings
from market_data.core.interval import Interval
from market_data.db.session import Database
from market_data.main import create_app
from market_data.repositories.provider_budget import ProviderBudgetRepository
from market_data.services.sample import ingest_sample
from market_data.services.scheduler import Scheduler
from market_data.services.subscription import SubscriptionRequest, SubscriptionService
from tests.support.api import add_instrument, post_rows, row, store
from tests.support.grafana import Choice, Dashboard, Window

QUOTED = "O'NEIL\"x"  # a symbol may hold any printable character but space and comma
MINUTES = datetime(2024, 3, 4, tzinfo=UTC)
STOCKS = Window(datetime(2012, 3, 1, tzinfo=UTC), datetime(2013, 3, 2, tzinfo=UTC))
LOGIN, PASSWORD = f"grafana_of_tests_{os.getpid()}", "only-for-tests"  # roles belong to the whole server


@dataclass(frozen=True)
class Asked:
    """A query of a dashboard: of a panel, or of a variable."""

    dashboard: str
    name: str
    query: Query

    def __str__(self) -> str:
        return f"{self.dashboard.removeprefix('market-data-')}: {self.name}"


def asked() -> Iterator[Asked]:
    """Every panel's query."""
    for dashboard in dashboards():
        for panel in panels(dashboard):
            for target in panel.targets or ():
                yield Asked(dashboard.uid, panel.title or panel.type_val, target)


def variables(uid: str) -> list[Any]:
    (found,) = (one for one in dashboards() if one.uid == uid)
    return list(found.templating.list_val or ())


def window(uid: str) -> Window:
    """A time range in which the sample has data for the dashboard."""
    if uid in {"market-data-overview", "market-data-instrument"}:
        return STOCKS
    now = datetime.now(UTC) + timedelta(minutes=1)
    return Window(now - timedelta(days=7), now, "1h")


def minute(place: int) -> dict[str, object]:
    """A bar of a price that swings around 100."""
    close = round(100 + 10 * (place % 97) / 97 - 5 * (place % 31) / 31, 2)
    ts = (MINUTES + timedelta(minutes=place)).isoformat()
    return row(ts, close, 1.5 + place % 7, high=close + 1, low=close - 1)


@asynccontextmanager
async def api(database: Database) -> AsyncIterator[httpx2.AsyncClient]:
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    settings = Settings.model_construct(
        **{
            **defaults,
            "database_url": SecretStr(database.url),
            "log_level": "WARNING",
            "jobs_at_once": 0,
        }
    )
    application = create_app(settings)
    async with application.router.lifespan_context(application):
        transport = httpx2.ASGITransport(app=application, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://api.test") as client:
            yield client


async def fill(database: Database) -> None:
    """Store the sample, minutes of a coin, a symbol with quotes, rates below zero, a run with refusals."""
    await ingest_sample(database, lambda _: None)
    await _keep(database)
    async with api(database) as client:
        await add_instrument(client, "COIN", exchange="BINANCE", asset_class="crypto", currency="USDT")
        await add_instrument(client, QUOTED)
        await add_instrument(client, "RATE", exchange="XOFF", asset_class="rate", currency="EUR")
        await store(client, [minute(n) for n in range(3000)], symbol="COIN", interval="1m", source="mine")
        days = [row(f"2012-05-{n:02d}", 10.0 + n) for n in range(1, 29)]
        await store(client, days, symbol=QUOTED, source="mine", basis="split")
        await store(client, [row("2012-06-01", -0.5), row("2012-06-04", 0.25)], symbol="RATE", source="mine")
        broken = [row("2012-07-02", 5.0, high=4.0), row("2012-07-03", 5.0, low=6.0), row("2012-07-04", 5.0)]
        answer = await post_rows(client, broken, symbol=QUOTED, interval="1d", source="mine", basis="split")
        assert answer.json()["rejected"] == 2, answer.text


async def _keep(database: Database) -> None:
    """Subscribe to a rate, have it wait in the queue, and take a turn at its provider."""
    since = datetime(2024, 1, 1, tzinfo=UTC)
    await SubscriptionService(database).subscribe(
        SubscriptionRequest(provider="ecb", symbols=["EURUSD"], intervals=[Interval.D1], since=since)
    )
    await Scheduler(database).tick()
    async with database.session() as session:
        await ProviderBudgetRepository(session).hold("ecb", timedelta(0))


@asynccontextmanager
async def login(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A connection as Grafana makes one: of a login that is no more than a reader."""
    url = make_url(database.url)
    async with as_owner(database) as owner:
        if not await owner.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", LOGIN):
            await owner.execute(f"CREATE ROLE {LOGIN} LOGIN PASSWORD '{PASSWORD}' IN ROLE market_data_reader")
    reader = await asyncpg.connect(
        host=url.host, port=url.port, database=url.database, user=LOGIN, password=PASSWORD
    )
    try:
        yield reader
    finally:
        await reader.close()


async def forget_login(database: Database) -> None:
    async with as_owner(database) as owner:
        await owner.execute(f"DROP ROLE IF EXISTS {LOGIN}")


@asynccontextmanager
async def as_owner(database: Database) -> AsyncIterator[asyncpg.Connection]:
    owner = await asyncpg.connect(database.url.replace("+asyncpg", ""))
    try:
        yield owner
    finally:
        await owner.close()


async def choose(reader: asyncpg.Connection, uid: str, **wanted: str) -> Dashboard:
    """Open a dashboard: ask each variable in order, and take what is wanted, all, or else the first."""
    chosen: dict[str, Choice] = {}
    for variable in variables(uid):
        name, multi = variable.name, bool(variable.multi)
        if variable.type_val == "custom":
            chosen[name] = Choice(variable.current.value)
            continue
        rows = await reader.fetch(Dashboard(window(uid), chosen).expand(variable.query))
        assert rows, f"{uid}: nothing to choose for {name}"
        value = wanted.get(name) or (
            None if variable.include_all else rows[0]["__value" if "__value" in rows[0] else 0]
        )
        assert multi == bool(variable.include_all)
        chosen[name] = Choice(value, multi, variable.all_value or "")
    return Dashboard(window(uid), chosen)
