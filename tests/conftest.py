"""Fixtures every test may use: a real PostgreSQL built by our own migrations, and the API over it."""

import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import httpx2
import hypothesis
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import text

from market_data.core.config import Settings
from market_data.db import migrations
from market_data.db.base import Base
from market_data.db.queue import SCHEMA
from market_data.db.session import Database
from market_data.main import create_app
from tests.homes.home import Homes
from tests.support.database import new_database

pytest_plugins = ["tests.homes.plugin"]

API = "/api/v1"

# A busy machine is no finding, and CI tries the same examples every time.
hypothesis.settings.register_profile("ours", deadline=None, derandomize="CI" in os.environ, print_blob=True)
hypothesis.settings.load_profile("ours")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-slow", action="store_true", help="run tests marked slow as well")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--run-slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="not run: slow, belongs to `make test-long`"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was not run and why: nothing passes by being skipped in silence."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[reason.removeprefix("Skipped: ").removeprefix("not run: ")] += 1
    if reasons:
        terminalreporter.section("not run")
    for reason, count in sorted(reasons.items()):
        terminalreporter.line(f"not run: {reason} ({count} test{'s' if count > 1 else ''})")


@pytest.fixture
async def empty_url(server_url: str) -> AsyncIterator[str]:
    """Address of a database without anything in it."""
    async with new_database(server_url) as url:
        yield url


MigratedOn = Callable[[str], Awaitable[Database]]


@asynccontextmanager
async def migrated_database(server_url: str) -> AsyncIterator[Database]:
    """Make a database at the newest revision."""
    async with new_database(server_url) as url:
        database = Database(url)
        await migrations.upgrade(database)
        yield database
        await database.close()


@pytest.fixture(scope="session")
async def migrated_on(homes: Homes) -> AsyncIterator[MigratedOn]:
    """Gives a server's migrated database, made once: `migrated` is set up anew whenever homes change."""
    made: dict[str, Database] = {}
    async with AsyncExitStack() as until_the_end:

        async def on(server_url: str) -> Database:
            if server_url not in made:
                made[server_url] = await until_the_end.enter_async_context(migrated_database(server_url))
            return made[server_url]

        yield on


@pytest.fixture(scope="session")
async def migrated(server_url: str, migrated_on: MigratedOn) -> Database:
    """A database at the newest revision, shared by the tests of a worker on one home."""
    return await migrated_on(server_url)


@pytest.fixture
async def database(migrated: Database) -> Database:
    """The migrated database, with all tables empty and ids beginning at 1."""
    tables = ", ".join(Base.metadata.tables)
    async with migrated.engine.begin() as connection:
        await connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
        await connection.execute(text(f"TRUNCATE {SCHEMA}.pgqueuer, {SCHEMA}.pgqueuer_log RESTART IDENTITY"))
    return migrated


@pytest.fixture
def settings(database: Database) -> Settings:
    """Settings of the app under test; nothing comes from the environment."""
    return Settings.model_construct(
        **{
            **{name: field.default for name, field in Settings.model_fields.items()},
            "database_url": SecretStr(database.url),
            "log_level": "WARNING",
        }
    )


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    """The API, started."""
    application = create_app(settings)
    async with application.router.lifespan_context(application):
        yield application


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    """An HTTP client of the API, in process."""
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://api.test") as api:
        yield api
