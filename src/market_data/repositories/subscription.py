"""Subscriptions: what is kept up to date, and when each is looked after next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from market_data.core.exceptions import SubscriptionNotFound
from market_data.core.interval import Interval
from market_data.models import Subscription


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionFilter:
    """What to list; None does not filter."""

    watchlist: str | None = None
    provider: str | None = None
    interval: Interval | None = None
    active: bool | None = None
    failing: bool | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """A subscription that is to be looked after now."""

    id: int
    provider: str


_AT_ONCE = 1000
"""Rows of one statement: the driver takes 32,767 parameters."""

_TAKE_DUE = text("""
    UPDATE subscription SET due_at = :until
    WHERE id IN (
        SELECT id FROM subscription WHERE active AND schedule_id IS NULL AND due_at <= :now
        ORDER BY due_at, id LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    RETURNING id, provider
    """)
_WATERMARKS = text("""
    SELECT u.id, c.watermark FROM subscription u
    CROSS JOIN LATERAL (
        SELECT max(end_ts) AS watermark FROM coverage WHERE series_id = u.series_id AND state = 'answered'
    ) c
    WHERE u.id = ANY(CAST(:ids AS int[]))
    """)


class SubscriptionRepository:
    """Subscriptions in the order of their ids."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def find(self, entity_id: int) -> Subscription | None:
        """Return the subscription, or None."""
        return await self._session.get(Subscription, entity_id)

    async def get(self, entity_id: int) -> Subscription:
        """Return the subscription.

        Raises:
            SubscriptionNotFound: no such id.

        """
        found = await self.find(entity_id)
        if found is None:
            raise SubscriptionNotFound(entity_id)
        return found

    async def list_(
        self, wanted: SubscriptionFilter, *, limit: int, after: Sequence[object] | None = None
    ) -> list[Subscription]:
        """Return at most `limit` matches behind the key (id,)."""
        query = select(Subscription).order_by(Subscription.id).limit(limit)
        for name in ("watchlist", "provider", "interval", "active"):
            if (value := getattr(wanted, name)) is not None:
                query = query.where(getattr(Subscription, name) == value)
        if wanted.failing is not None:
            query = query.where((Subscription.failures > 0) == wanted.failing)
        if after is not None:
            query = query.where(Subscription.id > after[0])
        return list(await self._session.scalars(query))

    async def upsert(
        self, keys: Sequence[Mapping[str, str]], values: Mapping[str, Any]
    ) -> list[Subscription]:
        """Store subscriptions by their keys (provider, symbol, interval), and return them in order of id.

        Each gets `values`; of one that exists nothing else changes.
        """
        found: list[Subscription] = []
        ordered = sorted(keys, key=lambda key: tuple(key.values()))  # so that two writers never deadlock
        for first in range(0, len(ordered), _AT_ONCE):
            rows = [{**key, **values} for key in ordered[first : first + _AT_ONCE]]
            statement = insert(Subscription).values(rows)
            changed = {name: statement.excluded[name] for name in values}
            stored = statement.on_conflict_do_update(
                index_elements=["provider", "symbol", "interval"],
                set_={**changed, "updated_at": func.now()},
            ).returning(Subscription)
            found += await self._session.scalars(stored)
        return sorted(found, key=lambda one: one.id)

    async def update(self, entity: Subscription) -> Subscription:
        """Store what changed."""
        entity.updated_at = func.now()
        await self._session.flush()
        await self._session.refresh(entity)
        return entity

    async def delete(self, entity_id: int) -> None:
        """Forget a subscription; its bars stay."""
        await self._session.execute(delete(Subscription).where(Subscription.id == entity_id))

    async def take_due(self, now: datetime, until: datetime, limit: int) -> list[Due]:
        """Return what is due by its own clock; nobody else takes it before `until`."""
        rows = await self._session.execute(_TAKE_DUE, {"now": now, "until": until, "limit": limit})
        return [Due(*row) for row in rows]

    async def of_schedule(self, schedule_id: int) -> list[Due]:
        """Return the active subscriptions a schedule is for."""
        query = select(Subscription.id, Subscription.provider).where(
            Subscription.schedule_id == schedule_id, Subscription.active
        )
        return [Due(*row) for row in await self._session.execute(query.order_by(Subscription.id))]

    async def find_by_series(self, series_id: int) -> Subscription | None:
        """Return the active subscription that keeps a series, or None."""
        query = select(Subscription).where(Subscription.series_id == series_id, Subscription.active)
        return await self._session.scalar(query.order_by(Subscription.since).limit(1))

    async def with_series(self) -> list[tuple[int, str]]:
        """Return series and provider of each active subscription that has been answered."""
        query = select(Subscription.series_id, Subscription.provider).where(
            Subscription.active, Subscription.series_id.is_not(None)
        )
        rows = await self._session.execute(query.order_by(Subscription.series_id))
        return [(series_id, provider) for series_id, provider in rows if series_id is not None]

    async def settle(self, subscription_id: int, **values: Any) -> None:  # noqa: ANN401 # columns
        """Note how an attempt ended: series_id, due_at, failures, error."""
        await self._session.execute(
            update(Subscription).where(Subscription.id == subscription_id).values(**values)
        )

    async def watermarks(self, ids: Sequence[int]) -> dict[int, datetime | None]:
        """Return up to where the bars of each are known to be final."""
        rows = await self._session.execute(_WATERMARKS, {"ids": list(ids)})
        return {row.id: row.watermark for row in rows}
