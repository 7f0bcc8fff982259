"""Reading ahead: the next piece is prepared while the last one is worked on."""

import asyncio
from collections.abc import AsyncGenerator
from typing import TypeVar

T = TypeVar("T")


async def ahead(source: AsyncGenerator[T]) -> AsyncGenerator[T]:
    """Yield what a source yields, and have it prepare the next meanwhile.

    When it is closed, what is being prepared is waited for: a thread may be reading a stream that the caller
    closes or rewinds next.
    """
    upcoming = asyncio.create_task(_next(source))
    try:
        while (one := await upcoming) is not None:
            upcoming = asyncio.create_task(_next(source))
            yield one
    finally:
        await asyncio.wait({upcoming})
        await source.aclose()


async def with_lulls(source: AsyncGenerator[T], seconds: float) -> AsyncGenerator[T | None]:
    """Yield what a source yields, preparing the next meanwhile, and None where it makes one wait so long.

    When it is closed, what is being prepared is cancelled.
    """
    upcoming = asyncio.create_task(_next(source))
    told = True
    try:
        while True:
            done, _ = await asyncio.wait({upcoming}, timeout=None if told else seconds)
            told = not done
            if not done:
                yield None
                continue
            if (one := upcoming.result()) is None:
                return
            upcoming = asyncio.create_task(_next(source))
            yield one
    finally:
        upcoming.cancel()
        await asyncio.wait({upcoming})
        await source.aclose()


async def _next(source: AsyncGenerator[T]) -> T | None:
    return await anext(source, None)
