"""Which instrument a provider means by its own symbol: settled once, never guessed."""

import asyncio

import pytest

from market_data.core.exceptions import InvalidInput
from market_data.core.vocabulary import AssetClass
from market_data.etl.provider import Listing
from market_data.services.listing import settle_listing
from tests.support.api import PREFIX, add_instrument

LISTING = Listing(symbol="EURUSD", asset_class=AssetClass.FX, currency="USD", exchange="FX")


async def settle(database, symbol="eurusd=x", listing=LISTING, exchange=None) -> int:
    async with database.session() as session:
        return (await settle_listing(session, "fake", symbol, listing, exchange)).id


async def test_a_listing_is_settled_once(client, database):
    number = await settle(database)
    body = (await client.get(f"{PREFIX}/instruments/{number}")).json()
    assert (body["symbol"], body["exchange"], body["asset_class"]) == ("EURUSD", "FX", "fx")
    await client.patch(f"{PREFIX}/instruments/{number}", json={"symbol": "EUR/USD"})
    assert await settle(database) == number
    assert await settle(database, "EURUSD=X") != number


async def test_a_recycled_ticker_gets_a_new_instrument(client, database):
    number = await settle(database)
    await client.patch(f"{PREFIX}/instruments/{number}", json={"active": False})
    fresh = await settle(database)
    assert fresh != number
    assert await settle(database) == fresh


async def test_what_contradicts_the_catalogue_is_refused(database):
    await settle(database)
    euros = Listing(symbol="EURUSD", asset_class=AssetClass.FX, currency="EUR", exchange="FX")
    with pytest.raises(InvalidInput, match=r"quotes eurusd=x in EUR.*is in USD"):
        await settle(database, listing=euros)
    with pytest.raises(InvalidInput, match="lists eurusd=x on FX, not XNAS"):
        await settle(database, exchange="XNAS")


async def test_nobody_guesses_where_a_symbol_trades(client, database):
    silent = Listing(symbol="ACME", asset_class=AssetClass.EQUITY, currency="USD")
    with pytest.raises(InvalidInput, match="the catalogue has none of that symbol: name it"):
        await settle(database, "acme", silent)
    number = await add_instrument(client)
    assert await settle(database, "acme", silent) == number
    await add_instrument(client, exchange="XNYS")
    assert await settle(database, "acme", silent) == number  # settled before
    with pytest.raises(InvalidInput, match="may be XNAS:ACME, XNYS:ACME: name it"):
        await settle(database, "acme.us", silent)
    assert await settle(database, "acme.us", silent, "XNYS") == number + 1
    assert await settle(database, "acme.l", silent, "XLON") == number + 2


async def test_the_same_listing_by_several_at_once(database):
    found = await asyncio.gather(*(settle(database, f"pair{n % 2}") for n in range(6)))
    assert len(set(found)) == 1


async def test_a_listing_against_the_rules_is_refused_by_itself(client, database):
    too_long = Listing(symbol="X" * 33, asset_class=AssetClass.EQUITY, currency="USD", exchange="XNAS")
    with pytest.raises(InvalidInput, match="cannot be added as it is listed, symbol"):
        await settle(database, "x", too_long)
    assert (await client.get(f"{PREFIX}/instruments")).json()["data"] == []
