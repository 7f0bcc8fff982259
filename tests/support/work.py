"""Doing the jobs of the queue in a test, one after the other, without a worker's clock and connections."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from pgqueuer.core.qm import QueueManager
from pgqueuer.domain.errors import RetryRequested
from pgqueuer.domain.models import Job
from pgqueuer.ports.repository import EntrypointExecutionParameter

from market_data.core.vocabulary import JobKind
from market_data.db.liveness import Liveness
from market_data.db.queue import QUEUE_SETTINGS, queue_of
from market_data.db.session import Database
from market_data.services.ingestion import OpenClient
from market_data.services.jobs import JobRunner
from market_data.services.worker import Patience, Worker


@dataclass(frozen=True)
class Done:
    """A job that was done, and what stopped it, where something did."""

    id: int
    kind: str
    error: Exception | None = None


class Hands:
    """Does jobs in this task; a context manager that holds the connections it needs."""

    def __init__(
        self, database: Database, open_client: OpenClient | None = None, patience: Patience | None = None
    ) -> None:
        self._database = database
        self._liveness = Liveness(database)
        runner = JobRunner(database, self._liveness, {}, open_client)
        self.done: list[Done] = []
        self._worker = Worker(database, runner, None, patience=patience)

    async def __aenter__(self) -> Self:
        self._raw = await self._database.connect()
        self._queue = queue_of(self._raw)
        manager = QueueManager(self._queue, QUEUE_SETTINGS.channel)
        self._worker._register(manager)
        self._id = manager.queue_manager_id
        self._names = {name: EntrypointExecutionParameter(0) for name in manager.entrypoint_registry}
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._liveness.close()
        await self._raw.close()

    async def drain(self) -> list[str]:
        """Do what is due until nothing is, new jobs included; return how each attempt ended.

        An ending is `done`, `again` (put back, now or for later) or the error it was given up for.
        """
        endings: list[str] = []
        while jobs := await self._queue.dequeue(1, self._names, self._id, None, timedelta(minutes=5)):
            endings.append(await self._do(*jobs))
        return endings

    async def _do(self, job: Job) -> str:
        kind = job.entrypoint.split(":")[0]
        try:
            await self._worker._attempt(JobKind(kind), lambda: False, job)
        except RetryRequested as again:
            await self._queue.retry_job(job, again.delay, None)
            return "again"
        except Exception as error:  # noqa: BLE001 # as the queue does: whatever it was, the job is held
            await self._queue.log_jobs([(job, "failed", None)])
            self.done.append(Done(job.id, kind, error))
            return type(error).__name__
        await self._queue.log_jobs([(job, "successful", None)])
        self.done.append(Done(job.id, kind))
        return "done"


async def drain(
    database: Database, open_client: OpenClient | None = None, patience: Patience | None = None
) -> list[str]:
    """Do what is due until nothing is; see `Hands.drain`."""
    async with Hands(database, open_client, patience) as hands:
        return await hands.drain()
