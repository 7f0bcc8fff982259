"""A worker: takes jobs from the queue, does several at once, and looks what is due."""

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
import structlog
from anyio import CancelScope
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain.errors import RetryRequested
from pgqueuer.domain.models import Context, Job

from market_data.core import metrics
from market_data.core.config import Settings
from market_data.core.exceptions import (
    ConcurrentChange,
    DatabaseUnavailable,
    MalformedAnswer,
    MarketDataError,
    ProviderRateLimited,
    ProviderUnavailable,
)
from market_data.core.logging import mark_told
from market_data.core.vocabulary import JobKind, JobOutcome
from market_data.db.liveness import Liveness
from market_data.db.queue import QUEUE_SETTINGS, queue_of
from market_data.db.session import Database
from market_data.etl.registry import providers, settings_of
from market_data.repositories.job import entrypoint
from market_data.services.jobs import Attempt, JobRunner
from market_data.services.scheduler import Scheduler

_TEMPORARY = (ProviderUnavailable, MalformedAnswer, ConcurrentChange, DatabaseUnavailable)
_LATENCY = 2.0
"""Seconds an answer may take: so many requests of a provider can be under way, and more would only wait."""

_NAMED = ("run_id", "subscription_id", "series_id", "request_id")
"""Parameters of jobs that log lines carry."""

_POLL = timedelta(seconds=1)
"""Between two looks into the queue; new jobs wake a worker at once, those whose time comes do not."""
_GRACE = 10.0
"""Seconds a worker that is stopped has to finish what is under way."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How a worker treats what fails."""

    attempts: int = 6
    first: timedelta = timedelta(seconds=30)
    """Before the second attempt; twice as long before each that follows."""
    longest: timedelta = timedelta(hours=1)

    def pause(self, attempts: int) -> timedelta:
        """Return how long to wait after so many attempts before this one."""
        return min(self.first * float(2 ** min(attempts, 16)), self.longest)


class Worker:
    """Does up to `slots` jobs at once until it is stopped.

    A worker that gives no sign of life for `timeout` is taken for dead, and others do its jobs.
    """

    def __init__(
        self,
        database: Database,
        runner: JobRunner,
        scheduler: Scheduler | None,
        *,
        slots: int = 8,
        timeout: timedelta = timedelta(seconds=30),
        patience: Patience | None = None,
    ) -> None:
        self._database = database
        self._runner = runner
        self._scheduler = scheduler
        self._slots = max(slots, 2)
        self._timeout = timeout
        self._patience = patience or Patience()
        self._stopping = asyncio.Event()
        self._manager: QueueManager | None = None
        self._scopes: set[CancelScope] = set()

    async def run(self) -> None:
        """Work until `stop`; a database that goes away is waited for."""
        scheduling = asyncio.create_task(self._schedule())
        try:
            while not self._stopping.is_set():
                try:
                    await self._work()
                except Exception as error:  # noqa: BLE001 # whatever it was: the next round tries again
                    _log.warning("the worker lost the queue", error=str(error), kind=type(error).__name__)
                    await self._pause(2.0)
        finally:
            scheduling.cancel()
            await asyncio.wait({scheduling})

    def stop(self) -> None:
        """Finish the chunks that are being worked on, put their jobs back, and end."""
        self._stopping.set()
        if self._manager is not None:
            self._manager.shutdown.set()

    async def stopped(self) -> None:
        """Wait until somebody stops it."""
        await self._stopping.wait()

    async def ended(self, task: asyncio.Task[None]) -> None:
        """Wait until the task that runs it has ended; work that takes too long then is cut short."""
        done, _ = await asyncio.wait({task}, timeout=_GRACE)
        if not done:
            for scope in self._scopes:
                scope.cancel()
            await asyncio.wait({task})

    async def _work(self) -> None:
        connection = await self._database.connect("market-data worker")
        try:
            manager = QueueManager(queue_of(connection), QUEUE_SETTINGS.channel)
            # Without its connection it can neither keep its jobs nor end them: others take them over.
            connection.add_termination_listener(lambda *_: manager.shutdown.set())
            self._register(manager)
            self._manager = manager
            if self._stopping.is_set():  # while it was connecting
                return
            await manager.run(
                dequeue_timeout=_POLL,
                batch_size=max(self._slots // 2, 1),
                max_concurrent_tasks=self._slots,
                heartbeat_timeout=self._timeout,
                shutdown_on_listener_failure=True,
            )
        finally:
            self._manager = None
            connection.terminate()

    def _register(self, manager: QueueManager) -> None:
        """Take what this process can do: jobs of providers it knows, and those without one."""
        for name, client in providers().items():
            pace = settings_of(client).requests_per_minute or client.spec.requests_per_minute
            at_once = max(math.ceil(pace / 60 * _LATENCY), 1)
            for kind in (JobKind.SYNC, JobKind.FETCH, JobKind.REPAIR):
                self._take(manager, kind, name, at_once)
        self._take(manager, JobKind.RETENTION, None, 1)

    def _take(self, manager: QueueManager, kind: JobKind, provider: str | None, at_once: int) -> None:
        manager.entrypoint(
            entrypoint(kind, provider), concurrency_limit=at_once, accepts_context=True, on_failure="hold"
        )(partial(self._do, kind, manager.shutdown.is_set))

    async def _do(self, kind: JobKind, stopping: Callable[[], bool], job: Job, context: Context) -> None:
        """Do a job; cancelled by somebody it is over, cut short by the end of this worker it goes back."""
        begun, outcome = time.monotonic(), JobOutcome.CANCELLED
        try:
            with context.cancellation, CancelScope() as scope:
                self._scopes.add(scope)
                try:
                    await self._attempt(kind, stopping, job)
                    outcome = JobOutcome.DONE
                finally:
                    self._scopes.discard(scope)
            if scope.cancelled_caught and not context.cancellation.cancel_called:
                raise _again(JobOutcome.INTERRUPTED)  # noqa: TRY301 # counted like the others
        except RetryRequested as again:
            outcome = JobOutcome(again.reason or JobOutcome.RETRIED)
            raise
        except Exception:
            outcome = JobOutcome.FAILED
            raise
        finally:
            metrics.job_ended(kind, _provider(job), outcome, time.monotonic() - begun)

    async def _attempt(self, kind: JobKind, stopping: Callable[[], bool], job: Job) -> None:
        """Do a job, and tell the queue what is to become of it."""
        parameters = msgspec.json.decode(job.payload or b"{}")
        failures = await self._runner.count_failures(job.id, kind, parameters) if job.attempts else 0
        last = failures + 1 >= self._patience.attempts
        attempt = Attempt(job.id, kind, parameters, last, stopping)
        with structlog.contextvars.bound_contextvars(job_id=job.id, kind=kind, **_told(job, parameters)):
            try:
                if not await self._runner.run(attempt):
                    return
                again = _again(JobOutcome.CONTINUED)
            except ProviderRateLimited as error:
                again = _again(JobOutcome.PUT_OFF, timedelta(seconds=error.retry_after or 60))
                _log.info("job put off", error=str(error), seconds=again.delay.total_seconds())
            except _TEMPORARY as error:
                if last:
                    _give_up(error, job)
                    raise
                again = _again(JobOutcome.RETRIED, self._patience.pause(failures))
                seconds = again.delay.total_seconds()
                _log.warning("job failed, it is tried again", error=str(error), seconds=seconds)
            except Exception as error:
                _give_up(error, job)
                raise
        raise again

    async def _schedule(self) -> None:
        while self._scheduler is not None:
            try:
                await self._scheduler.tick()
            except Exception as error:  # noqa: BLE001 # whatever it was: the next round tries again
                _log.warning("schedules were not looked at", error=str(error), kind=type(error).__name__)
            await asyncio.sleep(self._scheduler.pause)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)


def _again(outcome: JobOutcome, delay: timedelta = timedelta(0)) -> RetryRequested:
    """Return what tells the queue to have a job done again."""
    return RetryRequested(delay=delay, reason=outcome)


def _provider(job: Job) -> str:
    """Return whom a job asks, or an empty text."""
    return job.entrypoint.partition(":")[2]


def _told(job: Job, parameters: Mapping[str, Any]) -> dict[str, object]:
    """Return what every log line of a job names, as far as it is known before the work begins."""
    known = {"provider": _provider(job) or None, **{name: parameters.get(name) for name in _NAMED}}
    return {name: value for name, value in known.items() if value is not None}


def _give_up(error: Exception, job: Job) -> None:
    """Log a failure that is final, with a traceback where nobody expected it."""
    expected = isinstance(error, MarketDataError)
    _log.error(
        "job given up", error=str(error), attempts=job.attempts + 1, exc_info=None if expected else error
    )
    mark_told(error)


class BackgroundWorker:
    """A worker beside the API, in its process; none where `jobs_at_once` is 0."""

    def __init__(self, database: Database, liveness: Liveness, settings: Settings) -> None:
        self._worker = make_worker(database, liveness, settings)
        self._task = asyncio.create_task(self._worker.run()) if settings.jobs_at_once else None

    async def close(self) -> None:
        """Stop: jobs go back into the queue, at the end of what they are fetching or after some seconds."""
        if self._task is not None:
            self._worker.stop()
            await self._worker.ended(self._task)


def make_worker(database: Database, liveness: Liveness, settings: Settings) -> Worker:
    """Build a worker as the settings say."""
    return Worker(
        database,
        JobRunner(database, liveness, settings.retention),
        Scheduler(database),
        slots=settings.jobs_at_once,
        timeout=timedelta(seconds=settings.worker_timeout_seconds),
    )
