"""What the commands about instruments share."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from market_data.core.exceptions import AmbiguousSymbol, InstrumentNotFound
from market_data.models import Instrument
from market_data.services.instrument import InstrumentService

ItemT = TypeVar("ItemT")
PAGE = 1000


async def find_one(service: InstrumentService, which: str) -> Instrument:
    """Return the instrument that a symbol, exchange:symbol or id names.

    Raises:
        InstrumentNotFound: none.
        AmbiguousSymbol: several.

    """
    name = (await service.name_symbols([which]))[0]
    if name.instrument is None and not name.ambiguous and which.isascii() and which.isdigit():
        name = (await service.name_ids([int(which)]))[0]
    if name.ambiguous:
        raise AmbiguousSymbol({which: name.candidates})
    if name.instrument is None:
        raise InstrumentNotFound([which])
    return name.instrument


async def every(page: Callable[[str | None], Awaitable[tuple[list[ItemT], str | None]]]) -> list[ItemT]:
    """Collect all pages of a list."""
    found, token = await page(None)
    while token is not None:
        more, token = await page(token)
        found += more
    return found
