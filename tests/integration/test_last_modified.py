"""Dates of answers: they confirm a copy only where no other answer can have had the same one."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime

import pytest
from sqlalchemy import text

from tests.support.api import PREFIX, add_instrument, days, store

PATH = f"{PREFIX}/prices"
CHANGED = datetime(2024, 5, 6, 7, 8, 9, 500_000, tzinfo=UTC)


@pytest.fixture
async def acme(client, database):
    """Three bars that were written long ago."""
    number = await add_instrument(client)
    await store(client, days(3))
    async with database.engine.begin() as connection:
        for table in ("series", "price_block", "instrument"):
            await connection.execute(text(f"UPDATE {table} SET updated_at = :then"), {"then": CHANGED})
    return number


async def ask(client, headers=None, **params):
    query = {"symbols": "ACME", "interval": "1d"} | params
    return await client.get(PATH, params=query, headers=headers or {})


async def test_the_date_of_a_copy_confirms_it(client, acme):
    first = await ask(client)
    said = parsedate_to_datetime(first.headers["last-modified"])
    assert 0 <= abs((said - CHANGED).total_seconds()) < 1
    again = await ask(client, {"If-Modified-Since": first.headers["last-modified"]})
    assert (again.status_code, again.content) == (304, b"")
    for name in ("etag", "cache-control", "vary", "last-modified"):
        assert again.headers[name] == first.headers[name]


async def test_another_date_confirms_nothing(client, acme):
    for date in (format_datetime(datetime(2023, 1, 1, tzinfo=UTC), usegmt=True), "yesterday", "", "*"):
        assert (await ask(client, {"If-Modified-Since": date})).status_code == 200


async def test_a_tag_counts_more_than_a_date(client, acme):
    first = await ask(client)
    held = {"If-Modified-Since": first.headers["last-modified"], "If-None-Match": '"another"'}
    assert (await ask(client, held)).status_code == 200
    held = {"If-Modified-Since": "never", "If-None-Match": first.headers["etag"]}
    assert (await ask(client, held)).status_code == 304


async def test_an_answer_without_bars_has_no_date(client, acme):
    for params in ({"symbols": "ACME,NOBODY"}, {"source": "ecb"}, {"end": "2000-01-01"}):
        assert "last-modified" not in (await ask(client, **params)).headers


async def test_the_date_of_a_moment_ago_confirms_nothing_written_since(client, acme):
    for close in (50.0, 51.0, 52.0):
        await store(client, days(1, close=close))
        first = await ask(client)
        assert first.json()["data"][0]["close"] == close
        await store(client, days(1, close=close + 0.5))  # most likely within the same second
        again = await ask(client, {"If-Modified-Since": first.headers.get("last-modified", "")})
        assert again.status_code == 200
        assert again.json()["data"][0]["close"] == close + 0.5


@pytest.mark.parametrize("change", [{"currency": "EUR"}, {"exchange": "XNYS"}])
async def test_a_date_confirms_nothing_told_of_the_instrument_since(client, database, acme, change):
    first = await ask(client)
    ((name, value),) = change.items()
    async with database.engine.begin() as connection:
        await connection.execute(
            text(f"UPDATE instrument SET {name} = :value, updated_at = now()"), {"value": value}
        )
    again = await ask(client, {"If-Modified-Since": first.headers["last-modified"]})
    assert again.status_code == 200
    assert again.json()["symbols"]["ACME"][name] == value


async def test_a_second_series_may_change_within_the_same_second(client, acme, database):
    """Of several series the last change counts: while its second lasts, another may change in it as well."""
    await add_instrument(client, "OTHER")
    await store(client, days(3), symbol="OTHER")
    moment = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)  # it lasts while we look
    await touch(database, "ACME", moment + timedelta(milliseconds=1))
    await touch(database, "OTHER", CHANGED)
    held = (await ask(client, symbols="ACME,OTHER")).headers.get("last-modified")
    await store(client, days(3, close=77.0), symbol="OTHER")
    await touch(database, "OTHER", moment + timedelta(milliseconds=2))
    assert (await ask(client, {"If-Modified-Since": held or ""}, symbols="ACME,OTHER")).status_code == 200


async def touch(database, symbol, then):
    async with database.engine.begin() as connection:
        of = "(SELECT id FROM instrument WHERE symbol = :symbol)"
        for statement in (
            f"UPDATE series SET updated_at = :then WHERE instrument_id IN {of}",
            f"UPDATE instrument SET updated_at = '2020-01-01' WHERE id IN {of}",
        ):
            values = {"symbol": symbol} | ({"then": then} if ":then" in statement else {})
            await connection.execute(text(statement), values)
