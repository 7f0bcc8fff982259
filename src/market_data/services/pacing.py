"""One pace for all who ask a provider with one key: every process on every machine of this database.

Turns are reserved for those who wait for one at that moment, several in one unit of work where turns are
close together: at 1000 requests a second those who ask at the same time share a round trip, and nobody
reserves what nobody waits for. Where a provider counts requests by the hour or day, each turn is reserved
by itself, so that no quota is spent on a batch that is not used.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from market_data.core.exceptions import ProviderRateLimited
from market_data.db.session import Database
from market_data.etl.allowance import Allowance, allowance_of
from market_data.etl.pace import Clock, Sleep, beyond_patience, patience_for
from market_data.etl.provider import ProviderClient
from market_data.etl.registry import find_provider, open_client
from market_data.repositories.provider_budget import (
    ProviderBudgetRepository,
    Rate,
    Refusal,
    Turns,
    reserve_turns,
)

WINDOW = 0.05
"""Seconds: a batch is no longer than that, a hold by others is heeded within it, and a turn that was left
over for as long is given up."""

_MINUTE = 60_000_000
"""Microseconds."""


@dataclass(frozen=True, slots=True)
class _Turn:
    at: datetime
    """By the database's clock."""
    due: float
    """By ours."""


class SharedPace:
    """A `Pace` that lies in the database. For one event loop; `sleep` and `clock` exist for tests.

    A run that is cancelled while it waits for its turn loses that turn, and one request of a quota with it.
    """

    def __init__(
        self,
        database: Database,
        allowance: Allowance,
        *,
        sleep: Sleep = asyncio.sleep,
        clock: Clock = time.monotonic,
    ) -> None:
        self._database = database
        self._provider = allowance.provider
        self._account = allowance.account
        # Rounded up: never faster than allowed.
        self._step = timedelta(microseconds=math.ceil(_MINUTE / allowance.requests_per_minute))
        self._rate = Rate(
            step=self._step,
            patience=timedelta(seconds=patience_for(self._step.total_seconds())),
            quotas=allowance.smallest(),
        )
        self._most = 1 if allowance.quotas else max(1, int(WINDOW / self._step.total_seconds()))
        self._sleep = sleep
        self._clock = clock
        self._lock = asyncio.Lock()
        self._waiting = 0
        self._batch: deque[_Turn] = deque()
        self._looked = -math.inf
        """When it was last known that there is no hold."""

    async def turn(self) -> None:
        """Wait for a turn; one that a hold has overtaken is given back for another behind it.

        Raises:
            ProviderRateLimited: it is too far away, or a quota is spent; `retry_after` says how long.
            DatabaseUnavailable: nobody can tell whose turn it is.

        """
        while True:
            turn = await self._take()
            if (rest := turn.due - self._clock()) > 0:
                await self._sleep(rest)
            if not await self._overtaken(turn):
                return

    async def hold(self, seconds: float) -> None:
        """Let nobody ask before so many seconds are over; a longer hold that is there stays.

        Raises:
            DatabaseUnavailable: the others cannot be told.

        """
        async with self._database.session() as session:
            await ProviderBudgetRepository(session).hold(self._account, timedelta(seconds=seconds))
        self._looked = -math.inf
        self._batch.clear()

    async def _take(self) -> _Turn:
        """Return a turn of the batch, reserving one for all who wait here where there is none."""
        self._waiting += 1
        try:
            async with self._lock:
                while self._batch and self._batch[0].due < self._clock() - WINDOW:
                    self._batch.popleft()  # of somebody who was cancelled
                if not self._batch:
                    await self._reserve(min(self._waiting, self._most))
                return self._batch.popleft()
        finally:
            self._waiting -= 1

    async def _reserve(self, count: int) -> None:
        found = await self._reserved(count)
        if isinstance(found, Refusal):
            raise self._refused(found)
        self._looked = self._clock()
        self._batch.extend(self._turns(found))

    async def _reserved(self, count: int) -> Turns | Refusal:
        """Take turns; where requests are counted by the hour or day, no crash may forget one."""
        if self._rate.quotas:
            async with self._database.session() as session:
                return await ProviderBudgetRepository(session).reserve(self._account, self._rate, count)
        async with self._database.careless() as raw:
            return await reserve_turns(raw, self._account, self._rate, count)

    def _turns(self, found: Turns) -> list[_Turn]:
        first = self._looked + found.wait
        step = self._step.total_seconds()
        return [_Turn(found.at + self._step * n, first + step * n) for n in range(found.count)]

    async def _overtaken(self, turn: _Turn) -> bool:
        """Whether a hold came after the turn was taken; not looked for within `WINDOW` of the last look."""
        if self._clock() - self._looked <= WINDOW:
            return False
        async with self._database.session() as session:
            budgets = ProviderBudgetRepository(session)
            held = await budgets.is_held(self._account, turn.at)
            if held:
                await budgets.give_back(self._account, turn.at)
            else:
                self._looked = self._clock()
        return held

    def _refused(self, refusal: Refusal) -> ProviderRateLimited:
        if refusal.spent is None:
            return beyond_patience(self._provider, refusal.wait)
        allowed = f"{self._rate.quotas[refusal.spent]} requests in {refusal.spent.total_seconds():.0f} s"
        text = f"its allowance of {allowed} is spent for another {refusal.wait:.0f} s"
        return ProviderRateLimited(self._provider, text, refusal.wait)


@asynccontextmanager
async def open_shared(database: Database, provider: str) -> AsyncIterator[ProviderClient]:
    """Give a provider's client as `open_client` does, whose pace it shares with all others of the database.

    Raises:
        ProviderNotFound: no provider has this name.
        ProviderAuthError: it needs a key and none is set; names the variable.
        ConfigurationError: one of its settings is wrong.

    """
    found = find_provider(provider)
    allowance = allowance_of(found)
    pace = None if allowance is None else SharedPace(database, allowance)
    async with open_client(found, pace=pace) as client:
        yield client
