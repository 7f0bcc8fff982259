"""Jobs while they are done: how far, how fast, how long still, and what holds them up."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from market_data.core.exceptions import JobNotFound
from market_data.core.vocabulary import JobKind, JobStatus, RunStatus
from market_data.db.session import Database, Session
from market_data.models import IngestionRun
from market_data.repositories.ingestion_run import IngestionRunRepository
from market_data.repositories.job import JobFilter, JobRepository
from market_data.repositories.provider_budget import ProviderBudgetRepository
from market_data.services.jobs import Job, jobs_of

LATELY = 10.0
"""Seconds over which a rate is taken."""


@dataclass(frozen=True, slots=True)
class Turn:
    """When a provider may be asked next."""

    next_at: datetime
    """First turn that is free."""
    blocked_until: datetime | None
    """Until when it asked not to be asked."""


@dataclass(frozen=True, slots=True)
class JobPicture:
    """A job at a moment."""

    job: Job
    done: int
    """Bars stored, or found stored."""
    expected: int | None
    rate: float
    """Bars a second, of late."""
    budget: Turn | None

    @property
    def given_up(self) -> bool:
        """Whether nobody will do it unless it is retried."""
        return self.job.job.status is JobStatus.FAILED

    @property
    def eta_seconds(self) -> float | None:
        """Seconds to the end at this rate, where it can be told."""
        if self.expected is None or not self.rate:
            return None
        return max(self.expected - self.done, 0) / self.rate


@dataclass(frozen=True, slots=True)
class QueuePicture:
    """The queue at a moment."""

    jobs: Sequence[JobPicture]
    """Those that are being done, oldest first."""
    depth: dict[tuple[JobKind, str | None, JobStatus], int]
    """Jobs of each kind, provider and status."""


class Watcher:
    """Looks at jobs again and again; remembers what it saw, for rates."""

    def __init__(self, database: Database, timer: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._timer = timer
        self._seen: dict[int, deque[tuple[float, int]]] = {}

    async def look(self, job_id: int) -> JobPicture | None:
        """Return how a job stands now; None when it has left the queue."""
        async with self._database.session() as session:
            found = await jobs_of(session, [job_id])
            pictures = await self._pictures(session, found)
        return pictures[0] if pictures else None

    async def look_at_all(self, limit: int = 100) -> QueuePicture:
        """Return how the queue stands now, and those jobs that are being done."""
        async with self._database.session() as session:
            jobs = JobRepository(session)
            running = await jobs.list_(JobFilter(status=JobStatus.RUNNING), limit=limit)
            found = await jobs_of(session, [one.id for one in reversed(running)])
            self._seen = {one.job.id: self._seen.get(one.job.id, deque()) for one in found}
            depth = {(kind, provider, status): n for kind, provider, status, n in await jobs.depth()}
            return QueuePicture(await self._pictures(session, found), depth)

    async def outcome(self, job_id: int) -> IngestionRun | None:
        """Return the newest run of a job that has left the queue; None where there was nothing to do."""
        async with self._database.session() as session:
            return (await IngestionRunRepository(session).of_jobs([job_id])).get(job_id)

    async def require_known(self, job_id: int) -> None:
        """Refuse a job that is neither in the queue nor came to an end: one that was cancelled is gone.

        Raises:
            JobNotFound: nothing is known of it.

        """
        async with self._database.session() as session:
            known = await JobRepository(session).find(job_id)
        if known is not None:
            return
        run = await self.outcome(job_id)
        if run is None or run.status == RunStatus.CANCELLED:
            raise JobNotFound(job_id)

    async def _pictures(self, session: Session, found: Sequence[Job]) -> list[JobPicture]:
        budgets = await _turns(session)
        return [self._picture(one, budgets) for one in found]

    def _picture(self, found: Job, budgets: dict[str, Turn]) -> JobPicture:
        run = found.run
        done = run.inserted + run.updated + run.unchanged if run is not None else 0
        expected = run.expected if run is not None else None
        rate = self._rate(found.job.id, done)
        return JobPicture(found, done, expected, rate, budgets.get(found.job.provider or ""))

    def _rate(self, job_id: int, done: int) -> float:
        now = self._timer()
        seen = self._seen.setdefault(job_id, deque())
        if seen and done < seen[-1][1]:  # another run: it counts from its own beginning
            seen.clear()
        seen.append((now, done))
        while now - seen[0][0] > LATELY and len(seen) > 2:
            seen.popleft()
        (before, had), passed = seen[0], now - seen[0][0]
        return (done - had) / passed if now > before else 0.0


async def _turns(session: Session) -> dict[str, Turn]:
    """Return when each provider that was asked may be asked next; of several keys the latest."""
    found: dict[str, Turn] = {}
    for one in await ProviderBudgetRepository(session).list_():
        provider = one.account.partition(":")[0]
        known = found.get(provider, Turn(one.next_at, one.blocked_until))
        holds = [held for held in (known.blocked_until, one.blocked_until) if held is not None]
        found[provider] = Turn(max(known.next_at, one.next_at), max(holds, default=None))
    return found
