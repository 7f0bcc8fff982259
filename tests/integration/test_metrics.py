"""GET /metrics moves with what is done, tells the state of the database, and bears its absence."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from market_data.core import logging as ours
from market_data.core import metrics
from market_data.core.exceptions import ProviderUnavailable
from market_data.core.interval import Interval
from market_data.db.liveness import Liveness
from market_data.db.session import Database
from market_data.etl import registry
from market_data.services import metric
from market_data.services.jobs import JobRunner
from market_data.services.metric import MetricService
from market_data.services.scheduler import Scheduler
from market_data.services.subscription import SubscriptionRequest, SubscriptionService
from market_data.services.worker import Patience, Worker
from tests.support.api import INSTRUMENT, PREFIX, days
from tests.support.command import reset_logging
from tests.support.exchange import Exchange, ExchangeClient, clients_of
from tests.support.metrics import samples, value

pytestmark = pytest.mark.one_home


@pytest.fixture
def exchange(monkeypatch) -> Exchange:
    known = registry.providers()
    monkeypatch.setattr(registry, "providers", lambda: known | {"bell": ExchangeClient})
    monkeypatch.setattr("market_data.services.worker.providers", lambda: {"bell": ExchangeClient})
    return Exchange(datetime(2024, 6, 1, tzinfo=UTC))


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"jobs_at_once": 0})


@pytest.fixture(autouse=True)
def _now(monkeypatch):
    monkeypatch.setattr(metric, "FRESH", -1.0)


async def scrape(client, **headers) -> str:
    answer = await client.get("/metrics", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["x-request-id"]
    return answer.text


async def work(database, exchange, done: str, **more) -> None:
    """Have a worker at work until a query answers true."""
    liveness = Liveness(database)
    runner = JobRunner(database, liveness, {}, clients_of(exchange))
    worker = Worker(database, runner, more.pop("scheduler", None), **more)
    task = asyncio.create_task(worker.run())
    try:
        async with asyncio.timeout(20), database.connection() as connection:
            while not await connection.scalar(text(done)):
                await connection.rollback()
                await connection.execute(text("SELECT pg_sleep(0.02)"))
    finally:
        worker.stop()
        await worker.ended(task)
        await liveness.close()


async def ask(client, **headers) -> dict:
    body = {"provider": "bell", "symbols": ["ACME"], "interval": "1d", "start": "2024-01-01"}
    answer = await client.post(f"{PREFIX}/ingestions", json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    return answer.json()


async def test_an_ingest_moves_what_is_counted(client, database, exchange):
    before = await scrape(client)
    await ask(client)
    waiting = await scrape(client)
    queued = {"kind": "fetch", "provider": "bell", "status": "queued"}
    assert value("market_data_queue_jobs", waiting, **queued) == 1
    await work(database, exchange, "SELECT count(*) = 0 FROM v_job")
    after = await scrape(client)
    moved = {
        ("market_data_bars_total", ("source", "bell"), ("outcome", "inserted")): 105,
        ("market_data_jobs_total", ("kind", "fetch"), ("provider", "bell"), ("outcome", "done")): 1,
        ("market_data_job_seconds_count", ("kind", "fetch"), ("outcome", "done")): 1,
        (
            "market_data_http_requests_total",
            ("method", "POST"),
            ("route", "/ingestions"),
            ("status", "2xx"),
        ): 1,
        ("market_data_http_requests_total", ("method", "GET"), ("route", "/metrics"), ("status", "2xx")): 2,
    }
    for (name, *labels), count in moved.items():
        assert value(name, after, **dict(labels)) - value(name, before, **dict(labels)) == count, name
    assert value("market_data_queue_jobs", after, **queued) == 0
    assert value("market_data_database_up", after) == 1


async def test_routes_are_templates_whoever_serves_them(client, app):
    made = (await client.post(f"{PREFIX}/instruments", json=INSTRUMENT)).json()
    symbol = {"symbol": INSTRUMENT["symbol"], "interval": "1d"}
    await client.post(f"{PREFIX}/prices", params=symbol, json=days(3))
    before = await scrape(client)
    asked = [
        ("GET", f"{PREFIX}/instruments/{made['id']}", "/instruments/{instrument_id}", "2xx"),
        ("HEAD", f"{PREFIX}/instruments/{made['id']}", "/instruments/{instrument_id}", "2xx"),
        ("GET", f"{PREFIX}/prices?symbols={symbol['symbol']}&interval=1d", "/prices", "2xx"),
        ("HEAD", f"{PREFIX}/prices?symbols={symbol['symbol']}&interval=1d", "/prices", "2xx"),
        ("GET", f"{PREFIX}/prices?symbols=NOBODY&interval=1d", "/prices", "4xx"),
        ("PUT", f"{PREFIX}/instruments/{made['id']}", "/instruments/{instrument_id}", "4xx"),
        ("GET", "/nowhere/at/all", "other", "4xx"),
        ("GET", "/openapi.json", "/openapi.json", "2xx"),
    ]
    for method, path, _, _ in asked:
        await client.request(method, path)
    after = await scrape(client)
    for method, _, route, status in asked:
        labels = {"method": method, "route": route, "status": status}
        moved = value("market_data_http_requests_total", after, **labels)
        assert moved - value("market_data_http_requests_total", before, **labels) == 1, labels


async def test_subscriptions_are_told_with_their_lag(client, database, exchange):
    request = SubscriptionRequest(
        provider="bell",
        symbols=["ACME"],
        intervals=[Interval.D1, Interval.H1],
        since=datetime(2024, 1, 1, tzinfo=UTC),
    )
    await SubscriptionService(database).subscribe(request)
    never = await scrape(client)
    of = {"provider": "bell", "interval": "1d"}
    since = (datetime.now(UTC) - datetime(2024, 1, 2, tzinfo=UTC)).total_seconds()
    assert value("market_data_series_lag_seconds", never, symbol="ACME", **of) == pytest.approx(since, abs=60)
    assert value("market_data_lag_max_seconds", never, **of) == pytest.approx(since, abs=60)
    assert value("market_data_subscriptions", never, **of) == 1
    async with database.session() as session:
        await session.execute(text("UPDATE subscription SET failures = 2 WHERE interval = '1h'"))
        await session.execute(
            text("UPDATE subscription SET due_at = now() + interval '1 hour' WHERE interval = '1d'")
        )
    settled = await scrape(client)
    assert value("market_data_series_lag_seconds", settled, symbol="ACME", **of) == 0
    assert value("market_data_lag_median_seconds", settled, **of) == 0
    assert value("market_data_subscriptions_failing", settled, **of) == 0
    assert value("market_data_subscriptions_failing", settled, provider="bell", interval="1h") == 1


async def test_budgets_and_silent_workers(client, database, exchange, monkeypatch):
    await ask(client)
    monkeypatch.setattr(metric, "_allowances", lambda: [("vendor", {timedelta(days=1): 25})])
    async with database.session() as session:
        statements = (
            """
            INSERT INTO provider_budget (account, next_at, blocked_until, requests)
            VALUES ('vendor', now(), now() + interval '1 minute', 30),
                ('free', now(), now() - interval '1 day', 7)
            """,
            """
            INSERT INTO provider_quota (account, seconds, started_at, used)
            VALUES ('vendor', 86400, now(), 20), ('vendor', 3600, now() - interval '1 day', 9)
            """,
            "UPDATE market_data_queue.pgqueuer SET status = 'picked', heartbeat = now() - interval '1 hour'",
        )
        for statement in statements:
            await session.execute(text(statement))
    found = await scrape(client)
    assert value("market_data_provider_blocked_seconds", found, account="vendor") == pytest.approx(60, abs=15)
    assert value("market_data_provider_blocked_seconds", found, account="free") == 0
    assert value("market_data_provider_turns", found, account="vendor") == 30
    of_day = {"account": "vendor", "period_seconds": "86400"}
    assert value("market_data_provider_quota_used", found, **of_day) == 20
    assert value("market_data_provider_quota_allowed", found, **of_day) == 25
    assert value("market_data_provider_quota_used", found, account="vendor", period_seconds="3600") == 0
    assert value("market_data_queue_stalled_jobs", found, kind="fetch") == 1
    assert value("market_data_queue_stalled_jobs", found, kind="sync") == 0


async def test_openmetrics_where_it_is_asked_for(client):
    answer = await client.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")


async def test_without_a_database_it_tells_the_rest(settings):
    nobody = Database("postgresql://nobody:x@127.0.0.1:1/nothing")
    found = await MetricService(nobody, timedelta(seconds=30)).read()
    assert found == [metrics.Reading(metrics.DATABASE_UP, 0)]
    await nobody.close()


async def test_the_state_is_read_once_in_a_while(database, monkeypatch):
    monkeypatch.setattr(metric, "FRESH", 5.0)
    now = [100.0]
    service = MetricService(database, timedelta(seconds=30), clock=lambda: now[0])
    first = await service.read()
    assert await service.read() is first
    now[0] += 6
    assert await service.read() is not first


@pytest.mark.parametrize("broken", [ProviderUnavailable("bell", "is asleep"), ValueError("a bug")])
async def test_lines_of_a_job_name_job_run_and_request_and_failures_are_told_once(
    client, database, exchange, capsys, broken
):
    exchange.trouble = [broken]
    failed = await ask(client, **{"X-Request-ID": "asked-by-me"})
    assert failed["parameters"]["request_id"] == "asked-by-me"
    ours.configure("INFO", "json")
    try:
        done = "SELECT count(*) FILTER (WHERE status = 'failed') = 1 FROM v_job"
        await work(database, exchange, done, patience=Patience(attempts=1))
    finally:
        reset_logging()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    told = [one for one in lines if one["event"] == "job given up"]
    assert len(told) == 1
    assert ("exception" in told[0]) == isinstance(broken, ValueError)
    assert not [one for one in lines if one["logger"] == "pgqueuer"]
    ids = {
        "request_id": "asked-by-me",
        "run_id": failed["id"],
        "job_id": 1,
        "provider": "bell",
        "kind": "fetch",
    }
    for line in lines:
        assert ids.items() <= line.items(), line


async def test_a_sync_says_what_it_did(database, exchange, capsys):
    request = SubscriptionRequest(
        provider="bell", symbols=["ACME"], intervals=[Interval.D1], since=datetime(2024, 1, 1, tzinfo=UTC)
    )
    await SubscriptionService(database).subscribe(request)
    ours.configure("INFO", "json")
    try:
        done = "SELECT count(*) > 0 FROM v_subscription WHERE due_at > now() + interval '11 minutes'"
        await work(database, exchange, done, scheduler=Scheduler(database))
    finally:
        reset_logging()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (line,) = [one for one in lines if one["event"] == "sync finished"]
    assert (line["bars"], line["failed"], line["more"]) == (105, 0, False)
    assert line["chunks"] >= 1
    ids = {"job_id": 1, "run_id": 1, "subscription_id": 1, "provider": "bell", "kind": "sync"}
    assert ids.items() <= line.items()
    assert samples(metrics.render([])[0].decode())
