"""Schedules: when things are done."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from market_data.core.exceptions import ScheduleExists, ScheduleInUse, ScheduleNotFound
from market_data.core.vocabulary import ScheduleTask
from market_data.models import Schedule, Subscription


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleFilter:
    """What to list; None does not filter."""

    task: ScheduleTask | None = None
    active: bool | None = None


class ScheduleRepository:
    """Schedules in the order of their ids."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def find(self, entity_id: int) -> Schedule | None:
        """Return the schedule, or None."""
        return await self._session.get(Schedule, entity_id)

    async def get(self, entity_id: int) -> Schedule:
        """Return the schedule.

        Raises:
            ScheduleNotFound: no such id.

        """
        found = await self.find(entity_id)
        if found is None:
            raise ScheduleNotFound(entity_id)
        return found

    async def find_by_name(self, name: str) -> Schedule | None:
        """Return the schedule of this name, or None."""
        return await self._session.scalar(select(Schedule).where(Schedule.name == name))

    async def list_(
        self, wanted: ScheduleFilter, *, limit: int, after: Sequence[object] | None = None
    ) -> list[Schedule]:
        """Return at most `limit` matches behind the key (id,)."""
        query = select(Schedule).order_by(Schedule.id).limit(limit)
        for name in ("task", "active"):
            if (value := getattr(wanted, name)) is not None:
                query = query.where(getattr(Schedule, name) == value)
        if after is not None:
            query = query.where(Schedule.id > after[0])
        return list(await self._session.scalars(query))

    async def create(self, entity: Schedule) -> Schedule:
        """Store a new schedule.

        Raises:
            ScheduleExists: one has its name.

        """
        self._session.add(entity)
        return await self._stored(entity)

    async def update(self, entity: Schedule) -> Schedule:
        """Store what changed.

        Raises:
            ScheduleExists: another one has its new name.

        """
        entity.updated_at = func.now()
        return await self._stored(entity)

    async def _stored(self, entity: Schedule) -> Schedule:
        name = entity.name
        try:
            await self._session.flush()
        except IntegrityError as error:
            if "uq_schedule_name" in str(error.orig):
                raise ScheduleExists(name) from error
            raise
        await self._session.refresh(entity)
        return entity

    async def delete(self, entity_id: int) -> None:
        """Remove a schedule.

        Raises:
            ScheduleInUse: subscriptions follow it.

        """
        await self.require_unused(entity_id)
        await self._session.execute(delete(Schedule).where(Schedule.id == entity_id))

    async def take_due(self, now: datetime) -> list[Schedule]:
        """Return the schedules that are due and nobody else took, and keep others from taking them."""
        query = (
            select(Schedule)
            .where(Schedule.active, Schedule.due_at <= now)
            .order_by(Schedule.due_at, Schedule.id)
            .with_for_update(skip_locked=True)
        )
        return list(await self._session.scalars(query))

    async def names(self, ids: Collection[int]) -> dict[int, str]:
        """Return the names of schedules by their ids."""
        rows = await self._session.execute(select(Schedule.id, Schedule.name).where(Schedule.id.in_(ids)))
        return {row.id: row.name for row in rows}

    async def require_unused(self, entity_id: int) -> None:
        """Refuse where subscriptions follow a schedule.

        Raises:
            ScheduleInUse: they do.

        """
        users = select(func.count()).select_from(Subscription).where(Subscription.schedule_id == entity_id)
        if count := await self._session.scalar(users):
            raise ScheduleInUse(entity_id, count)
