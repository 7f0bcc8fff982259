"""Ingestion runs and the rows they refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from market_data.core.exceptions import RunNotFound
from market_data.core.vocabulary import RunStatus
from market_data.db.liveness import OWNER_LOCKS
from market_data.models import IngestionRun, Rejection

COUNTS = ("inserted", "updated", "unchanged", "unfinished", "rejected")
QUEUED = 0
"""Owner of a run that waits in the queue: no process's death ends it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """What to list; None does not filter."""

    status: RunStatus | None = None
    source: str | None = None
    subscription_id: int | None = None


class IngestionRunRepository:
    """Runs, newest first."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def find(self, entity_id: int) -> IngestionRun | None:
        """Return the run, or None."""
        return await self._session.get(IngestionRun, entity_id)

    async def get(self, entity_id: int) -> IngestionRun:
        """Return the run.

        Raises:
            RunNotFound: no such id.

        """
        found = await self.find(entity_id)
        if found is None:
            raise RunNotFound(entity_id)
        return found

    async def list_(
        self, wanted: RunFilter, *, limit: int, after: Sequence[object] | None = None
    ) -> list[IngestionRun]:
        """Return at most `limit` runs behind the key (id,), newest first."""
        query = select(IngestionRun).order_by(IngestionRun.id.desc()).limit(limit)
        if wanted.status is not None:
            query = query.where(IngestionRun.status == wanted.status)
        if wanted.source is not None:
            query = query.where(IngestionRun.source == wanted.source)
        if wanted.subscription_id is not None:
            query = query.where(IngestionRun.subscription_id == wanted.subscription_id)
        if after is not None:
            query = query.where(IngestionRun.id < after[0])
        return list(await self._session.scalars(query))

    async def create(self, entity: IngestionRun) -> IngestionRun:
        """Store a new run."""
        self._session.add(entity)
        await self._session.flush()
        await self._session.refresh(entity)
        return entity

    async def update(self, entity: IngestionRun) -> IngestionRun:
        """Store what changed."""
        await self._session.flush()
        await self._session.refresh(entity)
        return entity

    async def delete(self, entity_id: int) -> None:
        """Remove a run and its rejections."""
        await self._session.execute(delete(IngestionRun).where(IngestionRun.id == entity_id))

    async def start(self, run_id: int, owner: int | None = None, job_id: int | None = None) -> None:
        """Mark the beginning of work, also where it goes on; an owner or job that is given takes it over."""
        taken = {"owner": owner, "job_id": job_id}
        await self._session.execute(
            update(IngestionRun)
            .where(IngestionRun.id == run_id)
            .values(
                status=RunStatus.RUNNING,
                started_at=func.coalesce(IngestionRun.started_at, func.clock_timestamp()),
                finished_at=None,
                error=None,
                **{name: value for name, value in taken.items() if value is not None},
            )
        )

    async def expect(self, run_id: int, bars: int) -> None:
        """Note how many bars there will be in the end."""
        await self._session.execute(
            update(IngestionRun).where(IngestionRun.id == run_id).values(expected=bars)
        )

    async def note(self, run_id: int, parameters: Mapping[str, Any]) -> None:
        """Add to the parameters a run shows."""
        added = IngestionRun.parameters.op("||")(bindparam("added", parameters, type_=JSONB))
        await self._session.execute(
            update(IngestionRun).where(IngestionRun.id == run_id).values(parameters=added)
        )

    async def find_of_day(self, subscription_id: int, since: datetime) -> IngestionRun | None:
        """Return the newest run for a subscription that was asked for since then."""
        query = (
            select(IngestionRun)
            .where(IngestionRun.subscription_id == subscription_id, IngestionRun.created_at >= since)
            .order_by(IngestionRun.id.desc())
            .limit(1)
        )
        return await self._session.scalar(query)

    async def of_jobs(self, job_ids: Sequence[int]) -> dict[int, IngestionRun]:
        """Return the newest run of each of these jobs that has one."""
        query = select(IngestionRun).where(IngestionRun.job_id.in_(job_ids)).order_by(IngestionRun.id)
        return {run.job_id: run for run in await self._session.scalars(query) if run.job_id is not None}

    async def add_counts(self, run_id: int, counts: Mapping[str, int]) -> None:
        """Add to the counts, in the transaction of the bars they speak of."""
        columns = {name: getattr(IngestionRun, name) + n for name, n in counts.items() if n}
        if columns:
            await self._session.execute(update(IngestionRun).where(IngestionRun.id == run_id).values(columns))

    async def finish(self, run_id: int, status: RunStatus, error: str | None) -> None:
        """Record the outcome."""
        await self._session.execute(
            update(IngestionRun)
            .where(IngestionRun.id == run_id)
            .values(
                status=status,
                error=error,
                finished_at=func.clock_timestamp(),
                started_at=func.coalesce(IngestionRun.started_at, func.clock_timestamp()),
            )
        )

    async def cancel_waiting(self, job_id: int) -> None:
        """Mark the run of a job that nobody has begun as cancelled; a worker ends its own."""
        await self._session.execute(
            update(IngestionRun)
            .where(IngestionRun.job_id == job_id, IngestionRun.status == RunStatus.QUEUED)
            .values(
                status=RunStatus.CANCELLED, finished_at=func.clock_timestamp(), error="its job was cancelled"
            )
        )

    async def find_finished(self, source: str, name: str) -> IngestionRun | None:
        """Return a run of this source and name that reached its end, if there is one."""
        query = select(IngestionRun).where(
            IngestionRun.source == source,
            IngestionRun.status.in_((RunStatus.SUCCEEDED, RunStatus.PARTIAL)),
            IngestionRun.parameters["name"].astext == name,
        )
        return await self._session.scalar(query.limit(1))

    async def interrupt_dead(self) -> int:
        """Mark the unfinished runs of processes that died; return how many."""
        dead = text(
            "owner NOT IN (SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
            "AND classid = :locks AND objsubid = 2)"
        ).bindparams(locks=OWNER_LOCKS)
        found = await self._session.scalars(
            update(IngestionRun)
            .where(IngestionRun.finished_at.is_(None), IngestionRun.owner != QUEUED, dead)
            .values(
                status=RunStatus.INTERRUPTED,
                finished_at=func.clock_timestamp(),
                error="its process died; what it had committed is stored, and repeating is safe",
            )
            .returning(IngestionRun.id)
        )
        return len(list(found))

    async def add_rejections(self, run_id: int, rejections: Sequence[Mapping[str, Any]]) -> None:
        """Keep refused rows: symbol, ts, reason, detail, text."""
        if rejections:
            await self._session.execute(insert(Rejection), [{"run_id": run_id, **r} for r in rejections])

    async def list_rejections(self, run_id: int, *, limit: int, after: int | None) -> list[Rejection]:
        """Return at most `limit` refused rows of a run, in order, behind this rejection id."""
        query = select(Rejection).where(Rejection.run_id == run_id).order_by(Rejection.id).limit(limit)
        if after is not None:
            query = query.where(Rejection.id > after)
        return list(await self._session.scalars(query))
