"""Turns to ask a provider, and what is spent of its allowances: one row for all workers of all machines.

The row's lock is what makes turns exact, and the server's clock what makes machines agree. The algorithm is
GCRA, which ATM networks space cells by (ITU-T I.371), without tolerance for bursts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from market_data.db.session import Raw, raw_connection
from market_data.models import ProviderBudget, ProviderQuota

# Conditions are looked at under the lock, with the clock of that moment.
_RESERVE = """
    INSERT INTO provider_budget AS b (account, next_at, requests)
    VALUES ($1, clock_timestamp() + $2::interval, $3::bigint)
    ON CONFLICT (account) DO UPDATE SET
        next_at = greatest(b.next_at, b.blocked_until, clock_timestamp()) + $2::interval,
        requests = b.requests + $3::bigint
    WHERE greatest(b.next_at, b.blocked_until) <= clock_timestamp() + $4::interval
    RETURNING next_at - $2::interval AS at,
              extract(epoch FROM next_at - $2::interval - clock_timestamp())::double precision AS wait
    """
_NEXT = """
    SELECT extract(epoch FROM greatest(next_at, blocked_until) - clock_timestamp())::double precision
    FROM provider_budget WHERE account = $1
    """
_LOCK = text("""
    INSERT INTO provider_budget AS b (account, next_at) VALUES (:account, clock_timestamp())
    ON CONFLICT (account) DO UPDATE SET requests = b.requests
    RETURNING greatest(next_at, blocked_until, clock_timestamp())
    """)
# Read after the lock, by a statement of its own: it sees what those before us have committed.
_RUNNING = text("""
    SELECT seconds, used,
           CAST(extract(epoch FROM started_at + seconds * interval '1 second' - clock_timestamp())
                AS double precision) AS wait
    FROM provider_quota
    WHERE account = :account AND started_at + seconds * interval '1 second' > CAST(:turn AS timestamptz)
    """)
_COUNT = text("""
    INSERT INTO provider_quota AS q (account, seconds, started_at, used)
    SELECT :account, wanted.seconds, CAST(:turn AS timestamptz), CAST(:count AS integer)
    FROM unnest(CAST(:periods AS integer[])) AS wanted (seconds)
    ON CONFLICT (account, seconds) DO UPDATE SET
        started_at = CASE WHEN q.started_at + q.seconds * interval '1 second' > excluded.started_at
                          THEN q.started_at ELSE excluded.started_at END,
        used = CASE WHEN q.started_at + q.seconds * interval '1 second' > excluded.started_at
                    THEN q.used ELSE 0 END + excluded.used
    """)
_HOLD = text("""
    INSERT INTO provider_budget AS b (account, next_at, blocked_until)
    VALUES (:account, clock_timestamp(), clock_timestamp() + CAST(:span AS interval))
    ON CONFLICT (account) DO UPDATE SET
        blocked_until = greatest(b.blocked_until, clock_timestamp() + CAST(:span AS interval))
    RETURNING blocked_until
    """)
_IS_HELD = text("""
    SELECT EXISTS (SELECT FROM provider_budget
                   WHERE account = :account AND blocked_until > CAST(:at AS timestamptz))
    """)
_GIVE_BACK = text("UPDATE provider_budget SET requests = greatest(requests - 1, 0) WHERE account = :account")
_GIVE_BACK_QUOTA = text("""
    UPDATE provider_quota SET used = greatest(used - 1, 0)
    WHERE account = :account AND started_at <= CAST(:at AS timestamptz)
      AND started_at + seconds * interval '1 second' > CAST(:at AS timestamptz)
    """)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How often an account may ask."""

    step: timedelta
    """From one turn to the next, exact to the microsecond."""
    patience: timedelta
    """A turn further away is not reserved."""
    quotas: Mapping[timedelta, int] = field(default_factory=dict)
    """Requests allowed in a period, by its length in whole seconds."""


@dataclass(frozen=True, slots=True)
class Turns:
    """Turns that belong to whoever reserved them."""

    at: datetime
    """The first, by the database's clock; the others follow by steps."""
    wait: float
    """Seconds until the first; below 0 where the statement took that long."""
    count: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nothing was reserved."""

    wait: float
    """Seconds until it makes sense to ask again."""
    spent: timedelta | None = None
    """The period whose quota is spent; None: the next turn is further away than the patience."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Requests counted in a period, which may be over."""

    per: timedelta
    started_at: datetime
    used: int


@dataclass(frozen=True, slots=True)
class Budget:
    """What stands in an account."""

    account: str
    next_at: datetime
    blocked_until: datetime | None
    requests: int
    spent: tuple[Spent, ...]
    """By length of the period."""
    now: datetime
    """When this was read, by the database's clock."""

    def left(self, per: timedelta, allowed: int) -> int:
        """Return how many requests of a quota are left now."""
        running = [one for one in self.spent if one.per == per and one.started_at + per > self.now]
        return max(allowed - sum(one.used for one in running), 0)


async def reserve_turns(raw: Raw, account: str, rate: Rate, count: int) -> Turns | Refusal:
    """Take the next turns, behind all that were taken and behind a hold; quotas are not looked at.

    One statement, which may stand alone.
    """
    row = await raw.fetchrow(_RESERVE, account, rate.step * count, count, rate.patience)
    if row is None:
        return Refusal(await raw.fetchval(_NEXT, account))
    return Turns(row["at"], row["wait"], count)


class ProviderBudgetRepository:
    """Accounts with providers, inside the caller's transaction, which should be short: others wait for it."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def reserve(self, account: str, rate: Rate, count: int = 1) -> Turns | Refusal:
        """Take the next turns, behind all that were taken and behind a hold.

        With quotas, fewer than `count` are given where fewer are left. A period begins with the first turn
        after the end of the last; turns of one call count to the period of the first of them.
        """
        left = await self._left(account, rate.quotas) if rate.quotas else count
        if isinstance(left, Refusal):
            return left
        raw = await raw_connection(await self._session.connection())
        found = await reserve_turns(raw, account, rate, min(count, left))
        if rate.quotas and isinstance(found, Turns):
            periods = [_seconds(per) for per in rate.quotas]
            await self._session.execute(
                _COUNT, {"account": account, "turn": found.at, "count": found.count, "periods": periods}
            )
        return found

    async def _left(self, account: str, quotas: Mapping[timedelta, int]) -> int | Refusal:
        """Lock the account, and return how many requests the scarcest of its quotas has left."""
        turn = (await self._session.execute(_LOCK, {"account": account})).scalar_one()
        rows = await self._session.execute(_RUNNING, {"account": account, "turn": turn})
        running = {timedelta(seconds=row.seconds): row for row in rows}
        left = {per: quotas[per] - (running[per].used if per in running else 0) for per in quotas}
        spent = [per for per in quotas if per in running and left[per] < 1]
        if spent:
            last = max(spent, key=lambda per: running[per].wait)
            return Refusal(running[last].wait, last)
        return min(left.values())

    async def hold(self, account: str, pause: timedelta) -> datetime:
        """Let nobody have a turn before the pause is over, nor before an earlier one is; return its end."""
        row = await self._session.execute(_HOLD, {"account": account, "span": pause})
        until: datetime = row.scalar_one()
        return until

    async def is_held(self, account: str, at: datetime) -> bool:
        """Whether a hold lies over a turn, which was then taken before the hold came."""
        found: bool = (await self._session.execute(_IS_HELD, {"account": account, "at": at})).scalar_one()
        return found

    async def give_back(self, account: str, at: datetime) -> None:
        """Count one turn less: nobody asked at it."""
        await self._session.execute(_GIVE_BACK, {"account": account})
        await self._session.execute(_GIVE_BACK_QUOTA, {"account": account, "at": at})

    async def find(self, account: str) -> Budget | None:
        """Return an account, or None where nobody asked yet."""
        found = await self._read([account])
        return found[0] if found else None

    async def list_(self) -> list[Budget]:
        """Return all accounts by name: one for each provider and key."""
        return await self._read(None)

    async def _read(self, accounts: Sequence[str] | None) -> list[Budget]:
        budgets = select(
            ProviderBudget.account,
            ProviderBudget.next_at,
            ProviderBudget.blocked_until,
            ProviderBudget.requests,
            func.clock_timestamp(),
        ).order_by(ProviderBudget.account)
        quotas = select(
            ProviderQuota.account, ProviderQuota.seconds, ProviderQuota.started_at, ProviderQuota.used
        ).order_by(ProviderQuota.account, ProviderQuota.seconds)
        if accounts is not None:
            budgets = budgets.where(ProviderBudget.account.in_(accounts))
            quotas = quotas.where(ProviderQuota.account.in_(accounts))
        spent: dict[str, list[Spent]] = {}
        for account, seconds, started_at, used in await self._session.execute(quotas):
            spent.setdefault(account, []).append(Spent(timedelta(seconds=seconds), started_at, used))
        return [
            Budget(account, next_at, blocked_until, requests, tuple(spent.get(account, ())), now)
            for account, next_at, blocked_until, requests, now in await self._session.execute(budgets)
        ]


def _seconds(per: timedelta) -> int:
    return per // timedelta(seconds=1)
