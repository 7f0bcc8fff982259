"""What the database knows of the platform's state, as figures for whoever watches it."""

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta

import structlog

from market_data.core import metrics
from market_data.core.exceptions import ConfigurationError
from market_data.core.metrics import Reading, StateGauge
from market_data.core.vocabulary import JobKind, JobStatus
from market_data.db.session import Database
from market_data.etl.allowance import allowance_of
from market_data.etl.registry import providers
from market_data.repositories.job import JobRepository
from market_data.repositories.lag import Lag, LagRepository
from market_data.repositories.provider_budget import Budget, ProviderBudgetRepository

FRESH = 5.0
"""Seconds for which what was read is told again: several may watch."""
PATIENCE = 5.0
"""Seconds the database has to answer."""
SERIES = 500
"""Series whose lag is told by itself: those furthest behind."""

_log = structlog.get_logger(__name__)


class MetricService:
    """Reads the state; `timeout` is for how long a worker may be silent, `clock` (monotonic) is for tests."""

    def __init__(
        self, database: Database, timeout: timedelta, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._timeout = timeout
        self._clock = clock
        self._lock = asyncio.Lock()
        self._read_at = -math.inf
        self._readings: list[Reading] = []
        self._allowed: Mapping[str, Mapping[timedelta, int]] | None = None

    async def read(self) -> list[Reading]:
        """Return what holds now, or a few seconds ago; of a database that does not answer, only that."""
        async with self._lock:
            if self._clock() - self._read_at > FRESH:
                try:
                    async with asyncio.timeout(PATIENCE):
                        self._readings = await self._state()
                except (ConfigurationError, TimeoutError) as error:
                    _log.warning(
                        "the state was not read for metrics", error=str(error) or "no answer in time"
                    )
                    self._readings = [Reading(metrics.DATABASE_UP, 0)]
                self._read_at = self._clock()
            return self._readings

    async def _state(self) -> list[Reading]:
        if self._allowed is None:
            self._allowed = dict(_allowances())
        async with self._database.session() as session:
            jobs = JobRepository(session)
            depth = await jobs.depth()
            stalled = await jobs.stalled(self._timeout)
            lags = await LagRepository(session).list_(limit=SERIES)
            budgets = await ProviderBudgetRepository(session).list_()
        return [
            Reading(metrics.DATABASE_UP, 1),
            *_queue(depth),
            *(Reading(metrics.STALLED_JOBS, stalled.get(kind, 0), (kind,)) for kind in JobKind),
            *(reading for lag in lags for reading in _lag(lag)),
            *(reading for budget in budgets for reading in self._budget(budget)),
        ]

    def _budget(self, budget: Budget) -> Iterator[Reading]:
        account = budget.account
        blocked = (budget.blocked_until - budget.now).total_seconds() if budget.blocked_until else 0
        yield Reading(metrics.BLOCKED, max(blocked, 0), (account,))
        yield Reading(metrics.TURNS, budget.requests, (account,))
        for spent in budget.spent:
            used = spent.used if spent.started_at + spent.per > budget.now else 0
            yield Reading(metrics.QUOTA_USED, used, (account, _seconds(spent.per)))
        for per, requests in (self._allowed or {}).get(account, {}).items():
            yield Reading(metrics.QUOTA_ALLOWED, requests, (account, _seconds(per)))


def _queue(depth: list[tuple[JobKind, str | None, JobStatus, int]]) -> Iterator[Reading]:
    """Tell each status of what is in the queue, also where there is none: a line that ends tells nothing."""
    found = {(kind, provider or "", status): count for kind, provider, status, count in depth}
    for kind, provider in sorted({(kind, provider) for kind, provider, _ in found}):
        for status in JobStatus:
            count = found.get((kind, provider, status), 0)
            yield Reading(metrics.QUEUE_JOBS, count, (kind, provider, status))


def _lag(lag: Lag) -> Iterator[Reading]:
    if lag.symbol is not None:
        yield Reading(metrics.SERIES_LAG, lag.longest, (lag.provider, lag.symbol, lag.interval))
        return
    told: dict[StateGauge, float] = {
        metrics.SUBSCRIPTIONS: lag.active,
        metrics.FAILING: lag.failing,
        metrics.LAG_MAX: lag.longest,
        metrics.LAG_MEDIAN: lag.median,
    }
    for gauge, value in told.items():
        yield Reading(gauge, value, (lag.provider, lag.interval))


def _allowances() -> Iterator[tuple[str, dict[timedelta, int]]]:
    """Return what each account may ask, by period; a provider with wrong settings has none."""
    for client in providers().values():
        try:
            allowance = allowance_of(client)
        except ConfigurationError:
            continue
        if allowance is not None:
            yield allowance.account, allowance.smallest()


def _seconds(per: timedelta) -> str:
    return f"{per.total_seconds():.0f}"
