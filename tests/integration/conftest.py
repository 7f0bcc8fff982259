"""Fixtures of the command line and of dashboards, for the tests of this folder."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from market_data.db import migrations
from market_data.db.session import Database
from tests.conftest import new_database
from tests.support.dashboards import as_owner, fill, forget_login, login
from tests.support.fixtures import apple, bare, here, stored

__all__ = ["apple", "bare", "here", "stored"]


@pytest.fixture(scope="session")
async def sampled(server_url: str) -> AsyncIterator[Database]:
    """A database with the sample and more, for tests that only read."""
    async with new_database(server_url) as url:
        database = Database(url)
        await migrations.upgrade(database)
        await fill(database)
        async with as_owner(database) as owner:
            await owner.execute("VACUUM (ANALYZE)")
        yield database
        await forget_login(database)
        await database.close()


@pytest.fixture
async def grafana(sampled: Database) -> AsyncIterator[asyncpg.Connection]:
    """A connection to it as Grafana makes one."""
    async with login(sampled) as reader:
        yield reader
