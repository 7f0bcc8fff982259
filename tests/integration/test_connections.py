"""Connections: every kind reads an address the same way, and one that broke is made anew."""

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from market_data.db.liveness import OWNER_LOCKS, Liveness
from market_data.db.session import Database


async def answers(database: Database) -> list[int]:
    async with database.connection() as connection:
        pooled = (await connection.execute(text("SELECT 1"))).scalar_one()
    own = await database.connect()
    try:
        single = await own.fetchval("SELECT 2")
    finally:
        await own.close()
    async with database.reading() as reader:
        return [pooled, single, await reader.fetchval("SELECT 3")]


@pytest.mark.parametrize("asked", [{"sslmode": "disable"}, {"sslmode": "prefer"}, {"ssl": "disable"}])
async def test_an_address_may_say_how_to_encrypt(empty_url, asked):
    database = Database(make_url(empty_url).set(query=asked).render_as_string(hide_password=False))
    assert await answers(database) == [1, 2, 3]
    await database.close()


async def test_a_certificate_that_is_named_is_read(empty_url):
    asked = {"sslmode": "verify-ca", "sslrootcert": "/nowhere/root.crt"}
    database = Database(make_url(empty_url).set(query=asked).render_as_string(hide_password=False))
    with pytest.raises(FileNotFoundError):
        await answers(database)
    await database.close()


async def test_a_process_whose_connection_broke_lives_on(database):
    liveness = Liveness(database)
    try:
        owner = await liveness.assert_alive()
        async with database.session() as session:
            killed = await session.execute(
                text(
                    "SELECT pg_terminate_backend(pid, 10000) FROM pg_locks "
                    "WHERE locktype = 'advisory' AND classid = :locks AND objid = :owner"
                ),
                {"locks": OWNER_LOCKS, "owner": owner},
            )
            assert killed.scalars().all() == [True]
        assert await liveness.assert_alive() == owner
        async with database.session() as session:
            held = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = :owner")
            assert await session.scalar(held, {"owner": owner}) == 1
    finally:
        await liveness.close()
