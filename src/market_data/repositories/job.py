"""The queue of jobs, as PgQueuer keeps it: put in, looked at, tried again, taken out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.domain.types import JobId
from sqlalchemy import text

from market_data.core.exceptions import JobNotFound
from market_data.core.vocabulary import JobKind, JobOutcome, JobStatus
from market_data.db.queue import queue_of
from market_data.db.session import Session, raw_connection


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """Work to be done; where a job of the same key waits or is being done, it is not put in twice."""

    kind: JobKind
    key: str
    provider: str | None = None
    """Whom it asks; a worker that does not know the provider leaves it to others."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 0
    """The greater goes first."""

    @property
    def entrypoint(self) -> str:
        """Name under which workers take it."""
        return entrypoint(self.kind, self.provider)


def entrypoint(kind: JobKind, provider: str | None) -> str:
    """Return under which name workers take jobs of a kind for a provider."""
    return f"{kind}:{provider}" if provider else str(kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredJob:
    """A job that waits, is being done, or was given up."""

    id: int
    kind: JobKind
    provider: str | None
    status: JobStatus
    priority: int
    parameters: Mapping[str, Any]
    attempts: int
    created_at: datetime
    due_at: datetime
    heartbeat_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """What to list; None does not filter."""

    status: JobStatus | None = None
    kind: JobKind | None = None
    provider: str | None = None


_LIST = text("""
    SELECT job_id AS id, kind, provider, status, priority, parameters, attempts, created_at, due_at,
        heartbeat_at
    FROM v_job
    WHERE (CAST(:status AS text) IS NULL OR status = :status)
        AND (CAST(:kind AS text) IS NULL OR kind = :kind)
        AND (CAST(:provider AS text) IS NULL OR provider = :provider)
        AND (CAST(:after AS bigint) IS NULL OR job_id < :after)
        AND (CAST(:id AS bigint) IS NULL OR job_id = :id)
    ORDER BY job_id DESC LIMIT :limit
    """)
_DEPTH = text("SELECT kind, provider, status, count(*) FROM v_job GROUP BY kind, provider, status")
_STALLED = text("""
    SELECT kind, count(*) FROM v_job
    WHERE status = 'running' AND heartbeat_at < clock_timestamp() - CAST(:silence AS interval) GROUP BY kind
    """)
_HURRY = text("""
    UPDATE market_data_queue.pgqueuer SET execute_after = now(), updated = now()
    WHERE id = :id AND status = 'queued' AND execute_after > now()
    """)
_FORGET = text("""
    DELETE FROM market_data_queue.pgqueuer_log
    WHERE created < now() - CAST(:age AS interval) AND aggregated IS TRUE
    """)
_FAILURES = text("""
    SELECT count(*) FROM market_data_queue.pgqueuer_log
    WHERE job_id = :id AND traceback -> 'additional_context' ->> 'reason' = :reason
        AND id > (SELECT coalesce(max(id), 0) FROM market_data_queue.pgqueuer_log
                  WHERE job_id = :id AND status = 'failed')
    """)
_DROP_FAILED = text("""
    DELETE FROM market_data_queue.pgqueuer
    WHERE status = 'failed' AND dedupe_key = ANY(CAST(:keys AS text[]))
    """)


class JobRepository:
    """The queue inside the caller's transaction: what it stores is seen by workers after the commit."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def _queue(self) -> Queries:
        return queue_of(await raw_connection(await self._session.connection()))

    async def enqueue(self, jobs: Sequence[NewJob], *, hurry: bool = False) -> list[int | None]:
        """Put work into the queue; None stands for a job whose key waits or is being done already.

        With `hurry`, such a job gets the greater of both priorities, its time is now, and its id is
        returned. A dead letter of the same key is replaced.
        """
        if not jobs:
            return []
        await self._session.execute(_DROP_FAILED, {"keys": [job.key for job in jobs]})
        queue = await self._queue()
        names = [job.entrypoint for job in jobs]
        payloads: list[bytes | None] = [msgspec.json.encode(job.parameters) for job in jobs]
        priorities = [job.priority for job in jobs]
        keys: list[str | None] = [job.key for job in jobs]
        if not hurry:
            skipped = await queue.enqueue(names, payloads, priorities, None, keys, on_conflict="skip")
            return list(skipped)
        found = await queue.enqueue(names, payloads, priorities, None, keys, on_conflict="update_priority")
        for one in found:
            await self._session.execute(_HURRY, {"id": one})
        return list(found)

    async def find(self, job_id: int) -> StoredJob | None:
        """Return a job, or None: it ended, or never was."""
        found = await self._list(JobFilter(), limit=1, job_id=job_id)
        return found[0] if found else None

    async def get(self, job_id: int) -> StoredJob:
        """Return a job.

        Raises:
            JobNotFound: it ended, or never was.

        """
        found = await self.find(job_id)
        if found is None:
            raise JobNotFound(job_id)
        return found

    async def list_(
        self, wanted: JobFilter, *, limit: int, after: Sequence[object] | None = None
    ) -> list[StoredJob]:
        """Return at most `limit` jobs behind the key (id,), newest first."""
        return await self._list(wanted, limit=limit, after=None if after is None else after[0])

    async def _list(
        self, wanted: JobFilter, *, limit: int, after: object = None, job_id: int | None = None
    ) -> list[StoredJob]:
        rows = await self._session.execute(
            _LIST,
            {
                "status": wanted.status,
                "kind": wanted.kind,
                "provider": wanted.provider,
                "after": after,
                "id": job_id,
                "limit": limit,
            },
        )
        return [
            StoredJob(**{**row, "kind": JobKind(row["kind"]), "status": JobStatus(row["status"])})
            for row in rows.mappings()
        ]

    async def depth(self) -> list[tuple[JobKind, str | None, JobStatus, int]]:
        """Return how many jobs there are of each kind, provider and status."""
        rows = await self._session.execute(_DEPTH)
        return [(JobKind(kind), provider, JobStatus(status), n) for kind, provider, status, n in rows]

    async def stalled(self, silence: timedelta) -> dict[JobKind, int]:
        """Return by kind how many jobs are being done by workers that were silent for so long."""
        rows = await self._session.execute(_STALLED, {"silence": silence})
        return {JobKind(kind): count for kind, count in rows}

    async def retry(self, job_id: int) -> None:
        """Let a dead letter, or a job that waits for its time, be done at once."""
        await (await self._queue()).requeue_jobs([JobId(job_id)])
        await self._session.execute(_HURRY, {"id": job_id})

    async def count_failures(self, job_id: int) -> int:
        """Return how often a job failed and was to be tried again, since it was given up last.

        The queue's own attempts count other reasons too: a limit, a worker that was stopped.
        """
        values = {"id": job_id, "reason": JobOutcome.RETRIED}
        return int(await self._session.scalar(_FAILURES, values) or 0)

    async def cancel(self, job_id: int) -> None:
        """Take a job out of the queue; a worker that does it stops."""
        await (await self._queue()).mark_job_as_cancelled([JobId(job_id)])

    async def forget_log(self, age: timedelta) -> None:
        """Remove what the queue noted of jobs that long ago."""
        await self._session.execute(_FORGET, {"age": age})
