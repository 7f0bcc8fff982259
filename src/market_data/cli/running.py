"""How commands run: an event loop that signals can stop, and the database they work on."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, TypeVar

import typer

from market_data.cli.output import TERMINATED, complain
from market_data.core import logging
from market_data.core.config import get_settings
from market_data.db.aggregates import refresh_aggregates
from market_data.db.home import open_home, open_server
from market_data.db.liveness import Liveness
from market_data.db.session import Database
from market_data.services.run import RunService

ResultT = TypeVar("ResultT")
P = ParamSpec("P")


def fast_loop() -> asyncio.AbstractEventLoop:
    """Make the event loop the API has too, where it exists, for work that moves many bytes."""
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop  # noqa: PLC0415 # not there on Windows

    return uvloop.new_event_loop()


def run_async(work: Callable[P, Coroutine[Any, Any, ResultT]], *args: P.args, **kwargs: P.kwargs) -> ResultT:
    """Run a command's work; Ctrl-C and SIGTERM cancel it, so that it can record how far it got."""
    settings = get_settings()
    # What a command has to say is its output: logs come where they are asked for.
    asked = {"log_level", "debug"} & settings.model_fields_set
    logging.configure(settings.log_level if asked else "ERROR", settings.log_format)
    try:
        return asyncio.run(_cancelled_by_sigterm(work(*args, **kwargs)))
    except asyncio.CancelledError:
        complain("terminated; what was committed is stored, and repeating is safe")
        raise typer.Exit(TERMINATED) from None


async def _cancelled_by_sigterm(work: Coroutine[Any, Any, ResultT]) -> ResultT:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await task
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


@asynccontextmanager
async def opened() -> AsyncIterator[Database]:
    """Give the database, at this program's schema.

    Raises:
        DatabaseUnavailable: it does not answer, or is at another schema.

    """
    async with open_home(get_settings()) as database:
        yield database


@asynccontextmanager
async def opened_for_bars() -> AsyncIterator[Database]:
    """Give the database to somebody who changes bars: what SQL has made of them follows.

    Raises:
        DatabaseUnavailable: it does not answer, or is at another schema.

    """
    async with opened() as database:
        yield database
        await refresh_aggregates(database)


@asynccontextmanager
async def opened_for_runs() -> AsyncIterator[tuple[Database, Liveness]]:
    """Give the database and this process's sign of life; runs of dead processes are marked before.

    Raises:
        DatabaseUnavailable: it does not answer, or is at another schema.

    """
    async with opened_for_bars() as database:
        await RunService(database).interrupt_dead()
        liveness = Liveness(database)
        try:
            yield database, liveness
        finally:
            await liveness.close()


@asynccontextmanager
async def opened_at_any_schema() -> AsyncIterator[Database]:
    """Give the database as it is.

    Raises:
        DatabaseUnavailable: it does not answer.

    """
    async with open_server(get_settings()) as url:
        database = Database(url)
        try:
            yield database
        finally:
            await database.close()
