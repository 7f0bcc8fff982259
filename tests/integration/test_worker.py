"""A worker at the real queue: woken, stopped, told to stop a job, cut off from the database."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from market_data.core.config import Settings
from market_data.core.exceptions import MalformedAnswer, ProviderRateLimited, ProviderUnavailable
from market_data.core.interval import Interval
from market_data.core.vocabulary import JobKind, JobStatus, RunStatus
from market_data.db.liveness import Liveness
from market_data.etl import registry
from market_data.repositories.ingestion_run import IngestionRunRepository, RunFilter
from market_data.repositories.job import JobFilter, JobRepository, NewJob
from market_data.services.ingestion import IngestionService, IngestRequest
from market_data.services.jobs import JobRunner, JobService
from market_data.services.scheduler import Scheduler
from market_data.services.subscription import SubscriptionRequest, SubscriptionService
from market_data.services.worker import BackgroundWorker, Patience, Worker
from tests.support.exchange import Exchange, ExchangeClient, clients_of

pytestmark = pytest.mark.one_home

THERE = """
    SELECT count(*) > 0 FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'market-data worker'
    """


class Held(Exchange):
    """An exchange whose answers wait until they are let go."""

    def __init__(self, now: datetime) -> None:
        super().__init__(now)
        self.reached, self.go = asyncio.Event(), asyncio.Event()


@pytest.fixture
def exchange(monkeypatch) -> Held:
    known = registry.providers()
    monkeypatch.setattr(registry, "providers", lambda: known | {"bell": ExchangeClient})
    monkeypatch.setattr("market_data.services.worker.providers", lambda: {"bell": ExchangeClient})
    return Held(datetime(2024, 6, 1, tzinfo=UTC))


def held(exchange: Held):
    """Return what opens clients that wait before they answer."""

    @asynccontextmanager
    async def opened(name):
        async with clients_of(exchange)(name) as client:
            exchange.reached.set()
            await exchange.go.wait()
            yield client

    return opened


@asynccontextmanager
async def working(database, open_client, **more):
    """Have a worker at work; it is stopped at the end."""
    liveness = Liveness(database)
    worker = Worker(
        database, JobRunner(database, liveness, {}, open_client), more.pop("scheduler", None), **more
    )
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await worker.ended(task)
        await liveness.close()


async def until(database, query: str):
    """Wait until a query answers true; workers are woken, so this is soon."""
    async with asyncio.timeout(20), database.connection() as connection:
        while True:
            await connection.rollback()
            if await connection.scalar(text(query)):
                return
            await connection.execute(text("SELECT pg_sleep(0.02)"))


async def submitted(database, liveness) -> int:
    request = IngestRequest(
        provider="bell", symbols=("ACME",), interval=Interval.D1, start=datetime(2024, 1, 1, tzinfo=UTC)
    )
    return (await IngestionService(database, liveness).submit(request)).id


async def run_of(database, run_id):
    async with database.session() as session:
        return await IngestionRunRepository(session).get(run_id)


@pytest.fixture
async def liveness(database):
    made = Liveness(database)
    yield made
    await made.close()


async def test_it_is_woken_by_a_job_and_does_it(database, exchange, liveness):
    async with working(database, clients_of(exchange)):
        run_id = await submitted(database, liveness)
        await until(database, "SELECT count(*) = 0 FROM v_job")
    run = await run_of(database, run_id)
    assert (run.status, run.inserted, run.job_id) == (RunStatus.SUCCEEDED, 105, 1)


async def test_it_looks_what_is_due(database, exchange):
    request = SubscriptionRequest(
        provider="bell", symbols=["ACME"], intervals=[Interval.D1], since=datetime(2024, 1, 1, tzinfo=UTC)
    )
    await SubscriptionService(database).subscribe(request)
    async with working(database, clients_of(exchange), scheduler=Scheduler(database)):
        await until(database, "SELECT bool_and(bar_count = 105) FROM series")
        await until(database, "SELECT count(*) = 0 FROM v_job")


async def test_a_cancelled_job_stops_where_it_is(database, exchange, liveness):
    async with working(database, held(exchange)):
        run_id = await submitted(database, liveness)
        await exchange.reached.wait()
        await JobService(database).cancel(1)
        await until(database, "SELECT bool_and(status = 'cancelled') FROM ingestion_run")
        assert (await run_of(database, run_id)).finished_at is not None
        await until(database, "SELECT count(*) = 0 FROM v_job")


async def test_a_job_that_waits_can_be_cancelled(database, exchange, liveness):
    run_id = await submitted(database, liveness)
    await JobService(database).cancel(1)
    run = await run_of(database, run_id)
    assert (run.status, run.error) == (RunStatus.CANCELLED, "its job was cancelled")


async def test_a_worker_that_is_stopped_puts_its_jobs_back(database, exchange, liveness, monkeypatch):
    monkeypatch.setattr("market_data.services.worker._GRACE", 0.05)
    async with working(database, held(exchange)):
        run_id = await submitted(database, liveness)
        await exchange.reached.wait()
    (job,), _ = await JobService(database).list_(JobFilter(), limit=10, page_token=None)
    assert (job.job.status, job.job.attempts, job.run.id) == (JobStatus.QUEUED, 1, run_id)
    exchange.go.set()
    async with working(database, clients_of(exchange)):
        await until(database, "SELECT count(*) = 0 FROM v_job")
    assert (await run_of(database, run_id)).status == RunStatus.SUCCEEDED


async def test_another_worker_takes_over_from_a_dead_one(database, exchange, liveness):
    """What a dead worker held gives no sign of life."""
    run_id = await submitted(database, liveness)
    async with database.session() as session:
        await session.execute(
            text("""
            UPDATE market_data_queue.pgqueuer SET status = 'picked', heartbeat = now() - interval '1 minute',
                queue_manager_id = gen_random_uuid()
            """)
        )
    async with working(database, clients_of(exchange), timeout=timedelta(seconds=20)):
        await until(database, "SELECT count(*) = 0 FROM v_job")
    assert (await run_of(database, run_id)).status == RunStatus.SUCCEEDED


async def test_it_comes_back_after_its_connection_was_lost(database, exchange, liveness):
    async with working(database, clients_of(exchange)):
        await until(
            database,
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'market-data worker'",
        )
        async with database.session() as session:
            await session.execute(
                text("""
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND application_name = 'market-data worker'
                """)
            )
        run_id = await submitted(database, liveness)
        await until(database, "SELECT count(*) = 0 FROM v_job")
    assert (await run_of(database, run_id)).status == RunStatus.SUCCEEDED


@pytest.mark.parametrize(
    ("error", "waits", "attempts"),
    [
        (ProviderRateLimited("bell", "slow down", 700), 700, 1),
        (ProviderRateLimited("bell", "slow down"), 60, 1),
        (ProviderUnavailable("bell", "is asleep"), 30, 1),
        (MalformedAnswer("bell", "sent nonsense"), 30, 1),
    ],
)
async def test_what_passes_is_tried_again_later(database, exchange, liveness, error, waits, attempts):
    exchange.trouble = [error]
    async with working(database, clients_of(exchange)):
        await submitted(database, liveness)
        await until(database, "SELECT bool_and(attempts = 1 AND status = 'queued') FROM v_job")
    (job,), _ = await JobService(database).list_(JobFilter(), limit=10, page_token=None)
    left = job.job.due_at - datetime.now(UTC)
    assert timedelta(seconds=waits - 25) < left <= timedelta(seconds=waits)
    assert job.job.attempts == attempts


async def test_after_so_many_attempts_it_is_a_dead_letter_that_can_be_tried_again(
    database, exchange, liveness
):
    exchange.trouble = [ProviderUnavailable("bell", "is asleep")] * 3
    patience = Patience(attempts=3, first=timedelta(0))
    async with working(database, clients_of(exchange), patience=patience):
        run_id = await submitted(database, liveness)
        await until(database, "SELECT bool_and(status = 'failed') FROM v_job")
        found = await JobService(database).get(1)
        assert (found.job.status, found.run.error) == (JobStatus.FAILED, "ACME: bell: is asleep")
        await JobService(database).retry(1)
        await until(database, "SELECT count(*) = 0 FROM v_job")
    assert (await run_of(database, run_id)).status == RunStatus.SUCCEEDED


async def test_it_can_be_stopped_before_it_begins_and_while_it_connects(database, exchange, monkeypatch):
    liveness = Liveness(database)
    runner = JobRunner(database, liveness, {}, clients_of(exchange))
    early = Worker(database, runner, None)
    task = asyncio.create_task(early.run())
    early.stop()
    await early.ended(task)
    connecting = Worker(database, runner, None)
    connect = database.connect

    async def stopped_meanwhile(name: str):
        connecting.stop()
        return await connect(name)

    monkeypatch.setattr(database, "connect", stopped_meanwhile)
    await connecting.run()
    await connecting.stopped()
    await liveness.close()


async def test_schedules_are_looked_at_again_after_a_failure(database, exchange):
    class Failing(Scheduler):
        pause = 0.01
        looks = 0

        async def tick(self) -> int:
            self.looks += 1
            if self.looks == 1:
                raise OSError("out of luck")
            enough.set()
            return 0

    enough = asyncio.Event()
    async with working(database, clients_of(exchange), scheduler=Failing(database)):
        await asyncio.wait_for(enough.wait(), 20)


async def test_what_is_left_of_a_job_is_done_by_the_next(database, exchange, monkeypatch):
    monkeypatch.setattr("market_data.services.sync.chunk_length", lambda *_: timedelta(days=30))
    request = SubscriptionRequest(
        provider="bell", symbols=["ACME"], intervals=[Interval.D1], since=datetime(2024, 1, 1, tzinfo=UTC)
    )
    await SubscriptionService(database).subscribe(request)
    await Scheduler(database).tick()
    async with working(database, held(exchange)) as worker:
        await exchange.reached.wait()
        worker.stop()
        exchange.go.set()
    left = JobFilter(status=JobStatus.QUEUED)
    (job,), _ = await JobService(database).list_(left, limit=10, page_token=None)
    assert (job.job.kind, job.job.attempts) == (JobKind.SYNC, 1)
    async with working(database, clients_of(exchange)):
        await until(database, "SELECT count(*) = 0 FROM v_job")
        await until(database, "SELECT bool_and(bar_count = 105) FROM series")


def test_pauses_grow_and_end():
    patience = Patience(first=timedelta(seconds=30), longest=timedelta(minutes=5))
    assert [patience.pause(n).total_seconds() for n in range(6)] == [30, 60, 120, 240, 300, 300]


async def test_old_entries_of_the_log_go_with_retention(database, exchange, liveness):
    async with database.session() as session:
        await session.execute(
            text("""
            INSERT INTO market_data_queue.pgqueuer_log
                (created, job_id, status, priority, entrypoint, aggregated)
            SELECT now() - age, 7, 'successful', 0, 'sync', true
            FROM unnest(ARRAY['15 days', '13 days']::interval[]) AS age
            """)
        )
        await JobRepository(session).enqueue([NewJob(kind=JobKind.RETENTION, key="retention")])
    async with working(database, clients_of(exchange)):
        await until(database, "SELECT count(*) = 0 FROM v_job")
    async with database.session() as session:
        left = await session.scalar(
            text("SELECT count(*) FROM market_data_queue.pgqueuer_log WHERE job_id = 7")
        )
    assert left == 1


@pytest.mark.parametrize("jobs", [0, 2])
async def test_the_server_works_unless_it_is_told_not_to(database, liveness, jobs):
    settings = Settings.model_construct(jobs_at_once=jobs, worker_timeout_seconds=30, retention_days={})
    working = BackgroundWorker(database, liveness, settings)
    if jobs:
        await until(database, THERE)
    await working.close()
    async with database.session() as session:
        found = await IngestionRunRepository(session).list_(RunFilter(), limit=10)
    assert found == []
