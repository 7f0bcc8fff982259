"""How often a provider is asked: evenly spaced requests, counted over all runs of this process."""

import asyncio
from weakref import WeakKeyDictionary

from aiolimiter import AsyncLimiter

_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, float], AsyncLimiter]]
_shared = WeakKeyDictionary()


def limiter(requests_per_minute: float) -> AsyncLimiter:
    """One request per slot and no burst: several vendors also limit the requests of a single second."""
    return AsyncLimiter(1, 60 / requests_per_minute)


def shared_limiter(provider: str, requests_per_minute: float) -> AsyncLimiter:
    """Return the limiter all clients of a provider share in this event loop: a vendor counts them as one."""
    limiters = _shared.setdefault(asyncio.get_running_loop(), {})
    key = (provider, requests_per_minute)
    if key not in limiters:
        limiters[key] = limiter(requests_per_minute)
    return limiters[key]
