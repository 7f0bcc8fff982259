"""Reading ahead: the next piece is prepared while the last one is worked on."""

import asyncio
from collections.abc import AsyncGenerator
from typing import TypeVar

T = TypeVar("T")


async def ahead(source: AsyncGenerator[T], *, stop_at_once: bool = False) -> AsyncGenerator[T]:
    """Yield what a source yields, and have it prepare the next meanwhile.

    When it is closed, what is being prepared is waited for, because a thread may be reading a stream that the
    caller closes or rewinds next; with `stop_at_once` it is cancelled before.
    """
    upcoming = asyncio.create_task(_next(source))
    try:
        while (one := await upcoming) is not None:
            upcoming = asyncio.create_task(_next(source))
            yield one
    finally:
        if stop_at_once:
            upcoming.cancel()
        await asyncio.wait({upcoming})
        await source.aclose()


async def _next(source: AsyncGenerator[T]) -> T | None:
    return await anext(source, None)
