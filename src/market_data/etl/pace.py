"""How often a provider is asked: whoever asks takes a turn first, and turns are evenly spaced.

One request per turn and no burst: several vendors also limit the requests of a single second.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol
from weakref import WeakKeyDictionary

from aiolimiter import AsyncLimiter

from market_data.core.exceptions import ProviderRateLimited

PATIENCE = 60.0
"""Seconds to wait for a turn; one further away is refused, so that no run sleeps where it could be told."""

Sleep = Callable[[float], Awaitable[None]]
Clock = Callable[[], float]
"""Monotonic seconds."""


class Pace(Protocol):
    """What spaces the requests to one provider with one key."""

    async def turn(self) -> None:
        """Wait for the turn of one request.

        Raises:
            ProviderRateLimited: the turn is further away than the pace has patience, or a quota is spent;
                `retry_after` says how long.

        """
        ...

    async def hold(self, seconds: float) -> None:
        """Let nobody ask before so many seconds are over; a longer hold that is there stays."""
        ...


def patience_for(step: float) -> float:
    """Return how many seconds to wait for a turn: at least two of them, however slow the pace."""
    return max(PATIENCE, 2 * step)


def beyond_patience(provider: str, seconds: float) -> ProviderRateLimited:
    """Make the error for a turn that is too far away."""
    return ProviderRateLimited(provider, f"the next turn to ask is {seconds:.0f} s away", seconds)


class ProcessPace:
    """A pace of this process alone, where no database is there to share one.

    `sleep` and `clock` (monotonic seconds) exist for tests.
    """

    def __init__(
        self,
        provider: str,
        requests_per_minute: float,
        *,
        sleep: Sleep = asyncio.sleep,
        clock: Clock = time.monotonic,
    ) -> None:
        self.step = 60 / requests_per_minute
        """Seconds from one turn to the next."""
        self._provider = provider
        self._limiter = AsyncLimiter(1, self.step)
        self._held_until = float("-inf")
        self._sleep = sleep
        self._clock = clock

    async def turn(self) -> None:
        """Wait for a turn; one that a hold has overtaken is given up for another behind it."""
        while True:
            self._rest()
            await self._limiter.acquire()
            if (rest := self._rest()) <= 0:
                return
            await self._sleep(rest)

    async def hold(self, seconds: float) -> None:
        """Let nobody of this process ask before so many seconds are over."""
        self._held_until = max(self._held_until, self._clock() + seconds)

    def _rest(self) -> float:
        rest = self._held_until - self._clock()
        if rest > patience_for(self.step):
            raise beyond_patience(self._provider, rest)
        return rest


_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, float], ProcessPace]]
_shared = WeakKeyDictionary()


def process_pace(provider: str, requests_per_minute: float) -> ProcessPace:
    """Return the pace all clients of a provider share in this event loop: a vendor counts them as one."""
    paces = _shared.setdefault(asyncio.get_running_loop(), {})
    key = (provider, requests_per_minute)
    if key not in paces:
        paces[key] = ProcessPace(provider, requests_per_minute)
    return paces[key]
