"""Jobs as others see and steer them, and what doing one means."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import structlog

from market_data.core.exceptions import InvalidInput, ProviderError
from market_data.core.interval import Interval
from market_data.core.vocabulary import JobKind
from market_data.db.liveness import Liveness
from market_data.db.session import Database, Session
from market_data.models import IngestionRun
from market_data.repositories.ingestion_run import IngestionRunRepository
from market_data.repositories.job import JobFilter, JobRepository, StoredJob
from market_data.repositories.subscription import SubscriptionRepository
from market_data.services.ingestion import IngestionService, OpenClient
from market_data.services.paging import IdKey, cut_page, resume
from market_data.services.repair import RepairService
from market_data.services.retention import RetentionService
from market_data.services.sync import SyncService

LOG_KEPT = timedelta(days=14)
"""How long the queue's own log of finished jobs is kept; runs are kept for ever."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """A job, and the run that records what came of it so far."""

    job: StoredJob
    run: IngestionRun | None

    @property
    def fields(self) -> dict[str, Any]:
        """Everything of it by name, for those who show it."""
        return {**asdict(self.job), "run": self.run}


class JobService:
    """The queue as others see it; each method is one unit of work."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, job_id: int) -> Job:
        """Return a job.

        Raises:
            JobNotFound: it ended, or never was.

        """
        async with self._database.session() as session:
            await JobRepository(session).get(job_id)
            return (await jobs_of(session, [job_id]))[0]

    async def list_(
        self, wanted: JobFilter, *, limit: int, page_token: str | None
    ) -> tuple[list[Job], str | None]:
        """Return a page, newest first, and the token of the next one.

        Raises:
            InvalidPageToken: the token is damaged or another query's.

        """
        query = ("jobs", asdict(wanted))
        after = resume(page_token, query, IdKey)
        async with self._database.session() as session:
            found = await JobRepository(session).list_(wanted, limit=limit + 1, after=after)
            page, token = cut_page(found, limit, query, lambda one: (one.id,))
            runs = await IngestionRunRepository(session).of_jobs([one.id for one in page])
        return [Job(one, runs.get(one.id)) for one in page], token

    async def retry(self, job_id: int) -> Job:
        """Let a job that was given up, or waits for its time, be done at once.

        Raises:
            JobNotFound: it ended, or never was.

        """
        async with self._database.session() as session:
            jobs = JobRepository(session)
            await jobs.get(job_id)
            await jobs.retry(job_id)
        return await self.get(job_id)

    async def cancel(self, job_id: int) -> None:
        """Take a job out of the queue; what it stored stays, and its run ends as cancelled.

        Raises:
            JobNotFound: it ended, or never was.

        """
        async with self._database.session() as session:
            jobs = JobRepository(session)
            await jobs.get(job_id)
            await jobs.cancel(job_id)
            await IngestionRunRepository(session).cancel_waiting(job_id)


async def jobs_of(session: Session, job_ids: Sequence[int | None]) -> list[Job]:
    """Return those of these jobs that are in the queue, in this order, inside a caller's unit of work."""
    wanted = [one for one in job_ids if one is not None]
    jobs = JobRepository(session)
    runs = await IngestionRunRepository(session).of_jobs(wanted)
    found = [await jobs.find(one) for one in wanted]
    return [Job(one, runs.get(one.id)) for one in found if one is not None]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a job."""

    job_id: int
    kind: JobKind
    parameters: Mapping[str, Any]
    last: bool
    """Whether it is given up after this."""
    stopping: Callable[[], bool] = lambda: False
    """Asked between chunks: whether the worker is to end."""


class JobRunner:
    """Does jobs, whatever they are."""

    def __init__(
        self,
        database: Database,
        liveness: Liveness,
        retention: Mapping[Interval, timedelta],
        open_client: OpenClient | None = None,
    ) -> None:
        self._database = database
        self._retention = retention
        self._sync = SyncService(database, liveness, open_client)
        self._ingestions = IngestionService(database, liveness, open_client)
        self._repair = RepairService(database, liveness, open_client)

    async def count_failures(self, job_id: int, kind: JobKind, parameters: Mapping[str, Any]) -> int:
        """Return how often a job has failed in a row; a subscription that got on begins anew."""
        async with self._database.session() as session:
            if kind is not JobKind.SYNC:
                return await JobRepository(session).count_failures(job_id)
            found = await SubscriptionRepository(session).find(int(parameters["subscription_id"]))
        return 0 if found is None else found.failures

    async def run(self, attempt: Attempt) -> bool:
        """Do a job; return whether anything of it is left.

        Raises:
            ProviderError: the provider failed; what was stored before stays.
            InvalidInput: what was asked makes no sense any more, such as an exchange that contradicts.

        """
        parameters = attempt.parameters
        match attempt.kind:
            case JobKind.SYNC:
                subscription_id = int(parameters["subscription_id"])
                return await self._sync.sync(
                    subscription_id, attempt.job_id, last_try=attempt.last, stopping=attempt.stopping
                )
            case JobKind.FETCH:
                _, failures = await self._ingestions.resume(int(parameters["run_id"]), attempt.job_id)
                _raise_first(failures)
            case JobKind.REPAIR:
                await self._repair.work(int(parameters["series_id"]), attempt.job_id)
            case _:
                await self._retain()
        return False

    async def _retain(self) -> None:
        removed = await RetentionService(self._database, self._retention).apply() if self._retention else []
        async with self._database.session() as session:
            await JobRepository(session).forget_log(LOG_KEPT)
        _log.info("retention applied", removed={str(one.interval): one.bars for one in removed})


def _raise_first(failures: Mapping[str, ProviderError | InvalidInput]) -> None:
    for error in failures.values():
        raise error
