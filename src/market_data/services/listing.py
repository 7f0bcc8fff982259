"""Which instrument a provider means by its own symbol: settled once, never guessed."""

from dataclasses import asdict

from pydantic import ValidationError

from market_data.core.exceptions import InstrumentExists, InvalidInput
from market_data.db.session import Session
from market_data.etl.provider import Listing
from market_data.models import Instrument
from market_data.repositories.instrument import InstrumentRepository
from market_data.schemas.instrument import InstrumentCreate


async def settle_listing(
    session: Session, provider: str, symbol: str, listing: Listing, exchange: str | None
) -> Instrument:
    """Return the active instrument behind a provider's symbol; add it where its exchange is certain.

    A symbol settled before stands, while its instrument is active: a re-used ticker gets a new instrument.

    Raises:
        InvalidInput: no exchange is known and the catalogue does not decide, or what is known contradicts
            what the provider says.

    """
    instruments = InstrumentRepository(session)
    venue = listing.exchange or exchange
    found = await instruments.find_by_provider_symbol(provider, symbol)
    if found is None or not found.active:
        found = await _by_venue(instruments, provider, listing, venue)
        await instruments.settle_provider_symbol(provider, symbol, found.id)
    if exchange is not None and found.exchange != exchange:
        raise InvalidInput("exchange", f"{provider} lists {symbol} on {found.exchange}, not {exchange}")
    if found.currency != listing.currency:
        raise InvalidInput(
            "symbols",
            f"{provider} quotes {symbol} in {listing.currency}, but instrument {found.id} "
            f"({found.exchange}:{found.symbol}) is in {found.currency}: they cannot be the same",
        )
    return found


async def _by_venue(
    instruments: InstrumentRepository, provider: str, listing: Listing, venue: str | None
) -> Instrument:
    active = [one for one in await instruments.with_symbols([listing.symbol]) if one.active]
    if venue is None:
        if len(active) == 1:
            return active[0]
        many = ", ".join(f"{one.exchange}:{one.symbol}" for one in active)
        why = f"it may be {many}" if active else "and the catalogue has none of that symbol"
        raise InvalidInput(
            "exchange", f"{provider} does not say where {listing.symbol} trades, {why}: name it"
        )
    for one in active:
        if one.exchange == venue:
            return one
    return await _added(instruments, listing, venue)


async def _added(instruments: InstrumentRepository, listing: Listing, venue: str) -> Instrument:
    values = _checked(listing, venue)
    try:
        async with instruments.savepoint():
            return await instruments.create(Instrument(**values.model_dump()))
    except InstrumentExists:  # another process added it a moment ago
        found = await instruments.with_symbols([listing.symbol])
        return next(one for one in found if one.active and one.exchange == venue)


def _checked(listing: Listing, venue: str) -> InstrumentCreate:
    """Hold what a provider says to the rules of the catalogue.

    Raises:
        InvalidInput: it breaks one.

    """
    try:
        return InstrumentCreate.model_validate(asdict(listing) | {"exchange": venue})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        problem = f"{first['loc'][0]} {str(first['input'])[:80]!r}: {first['msg']}"
        raise InvalidInput(
            "symbols", f"{listing.symbol[:64]} cannot be added as it is listed, {problem}"
        ) from None
