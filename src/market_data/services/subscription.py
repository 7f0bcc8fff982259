"""Subscriptions: what is to be kept up to date, as people say and see it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from market_data.core import clock
from market_data.core.exceptions import InvalidInput, ScheduleNotFound
from market_data.core.interval import Interval
from market_data.core.vocabulary import ScheduleTask
from market_data.db.session import Database, Session
from market_data.etl.registry import find_provider, require_key
from market_data.models import Subscription
from market_data.repositories.job import JobRepository
from market_data.repositories.schedule import ScheduleRepository
from market_data.repositories.subscription import Due, SubscriptionFilter, SubscriptionRepository
from market_data.services.ingestion import PRIORITY
from market_data.services.jobs import Job, jobs_of
from market_data.services.paging import IdKey, cut_page, resume
from market_data.services.scheduler import sync_jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionRequest:
    """Keep these symbols of a provider, at these intervals, since then."""

    provider: str
    symbols: Sequence[str]
    intervals: Sequence[Interval]
    since: datetime
    exchange: str | None = None
    watchlist: str | None = None
    schedule: str | None = None
    """Name of a schedule."""
    active: bool | None = None
    """This and what is above may be None: new ones get the default, of others it stays as it was."""


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A subscription, the name of its schedule, and up to where its bars are final and known."""

    subscription: Subscription
    schedule: str | None
    watermark: datetime | None

    @property
    def fields(self) -> dict[str, Any]:
        """Everything of it by name, for those who show it."""
        return {**vars(self.subscription), "schedule": self.schedule, "watermark": self.watermark}


class SubscriptionService:
    """Each method is one unit of work."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def subscribe(self, request: SubscriptionRequest) -> list[Subscribed]:
        """Store what is to be kept, one for each symbol and interval; one that exists gets what is named.

        Raises:
            ProviderNotFound: no such provider.
            ProviderAuthError: its key is not set.
            InvalidInput: it has no such interval.
            ScheduleNotFound: no such schedule.

        """
        client = find_provider(request.provider)
        missing = [str(one) for one in request.intervals if one not in client.spec.bases]
        if missing:
            offered = ", ".join(client.spec.bases)
            text = f"{client.spec.name} has no {', '.join(missing)} bars; it has {offered}"
            raise InvalidInput("intervals", text)
        require_key(client)
        now = clock.now()
        if request.since > now:
            raise InvalidInput("since", f"{request.since.isoformat()} is still to come")
        async with self._database.session() as session:
            schedule_id = await _schedule_id(session, request.schedule)
            given: dict[str, Any] = {
                "exchange": request.exchange,
                "watchlist": request.watchlist,
                "schedule_id": schedule_id,
                "active": request.active,
            }
            values = {name: value for name, value in given.items() if value is not None}
            values |= {"since": request.since, "due_at": now}
            keys = [
                {"provider": client.spec.name, "symbol": symbol, "interval": str(interval)}
                for symbol in dict.fromkeys(request.symbols)
                for interval in dict.fromkeys(request.intervals)
            ]
            return await _seen(session, await SubscriptionRepository(session).upsert(keys, values))

    async def get(self, subscription_id: int) -> Subscribed:
        """Return a subscription.

        Raises:
            SubscriptionNotFound: no such id.

        """
        async with self._database.session() as session:
            found = await SubscriptionRepository(session).get(subscription_id)
            return (await _seen(session, [found]))[0]

    async def list_(
        self, wanted: SubscriptionFilter, *, limit: int, page_token: str | None
    ) -> tuple[list[Subscribed], str | None]:
        """Return a page in order of id, and the token of the next one.

        Raises:
            InvalidPageToken: the token is damaged or another query's.

        """
        query = ("subscriptions", asdict(wanted))
        after = resume(page_token, query, IdKey)
        async with self._database.session() as session:
            found = await SubscriptionRepository(session).list_(wanted, limit=limit + 1, after=after)
            page, token = cut_page(found, limit, query, lambda one: (one.id,))
            return await _seen(session, page), token

    async def update(self, subscription_id: int, changes: Mapping[str, Any]) -> Subscribed:
        """Change since, exchange, watchlist, schedule (a name) or active; it is looked after anew.

        Raises:
            SubscriptionNotFound: no such id.
            ScheduleNotFound: no such schedule.

        """
        async with self._database.session() as session:
            subscriptions = SubscriptionRepository(session)
            found = await subscriptions.get(subscription_id)
            values = dict(changes)
            if "schedule" in values:
                values["schedule_id"] = await _schedule_id(session, values.pop("schedule"))
            for name, value in (values | {"due_at": clock.now()}).items():
                setattr(found, name, value)
            return (await _seen(session, [await subscriptions.update(found)]))[0]

    async def delete(self, subscription_id: int) -> None:
        """Forget a subscription; its bars stay.

        Raises:
            SubscriptionNotFound: no such id.

        """
        async with self._database.session() as session:
            subscriptions = SubscriptionRepository(session)
            await subscriptions.get(subscription_id)
            await subscriptions.delete(subscription_id)

    async def sync(self, subscription_id: int) -> Job:
        """Have a subscription looked after at once; return the job that does it.

        Raises:
            SubscriptionNotFound: no such id.

        """
        async with self._database.session() as session:
            found = await SubscriptionRepository(session).get(subscription_id)
            jobs = sync_jobs([Due(found.id, found.provider)], PRIORITY)
            (job_id,) = await JobRepository(session).enqueue(jobs, hurry=True)
            return (await jobs_of(session, [job_id]))[0]


async def _schedule_id(session: Session, name: str | None) -> int | None:
    if name is None:
        return None
    found = await ScheduleRepository(session).find_by_name(name)
    if found is None:
        raise ScheduleNotFound(name)
    if found.task != ScheduleTask.SYNC:
        raise InvalidInput("schedule", f"{name} is for {found.task}; subscriptions follow one for sync")
    return found.id


async def _seen(session: Session, found: Sequence[Subscription]) -> list[Subscribed]:
    marks = await SubscriptionRepository(session).watermarks([one.id for one in found])
    followed = {one.schedule_id for one in found if one.schedule_id is not None}
    names = await ScheduleRepository(session).names(followed)
    return [Subscribed(one, names.get(one.schedule_id or 0), marks.get(one.id)) for one in found]
