"""`market-data serve`: everything the API needs, in one process tree."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from market_data.cli.output import FAILED, complain, notes
from market_data.cli.servers import run_here, run_workers
from market_data.core import logging
from market_data.core.config import Settings, get_settings
from market_data.core.exceptions import ConfigurationError
from market_data.db.home import open_home, open_server
from market_data.services.sample import ingest_sample

app = typer.Typer()


@app.command(epilog="Example: PORT=9000 market-data serve")
def serve(
    sample: Annotated[bool, typer.Option("--sample", help="First ingest the bundled sample.")] = False,
) -> None:
    """Serve the API; starts, migrates and finally stops the embedded database where none is given."""
    settings = get_settings()
    logging.configure(settings.log_level, settings.log_format)
    settings.require_guard()
    with _listening(settings) as listening, asyncio.Runner() as runner:
        server = open_server(settings)
        url = runner.run(server.__aenter__())
        try:
            runner.run(_prepare(settings, sample=sample))
            served = run_here if settings.workers == 1 else run_workers
            if not served(settings, url, listening):
                complain("the API did not start; the log above says why")
                raise typer.Exit(FAILED)
            notes.print("stopped")
        finally:
            runner.run(server.__aexit__(None, None, None))


@contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    """Take the port before anything else is started."""
    listening = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    with listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((settings.host, settings.port))
            listening.listen(1024)  # whoever asks early is answered once the API is up
        except OSError as error:
            raise ConfigurationError(
                f"PORT: cannot listen on {settings.host}:{settings.port} ({error.strerror}). "
                "Stop what uses it, or choose another: PORT=8001"
            ) from None
        listening.set_inheritable(True)
        yield listening


async def _prepare(settings: Settings, *, sample: bool) -> None:
    async with open_home(settings) as database:
        if sample:
            await ingest_sample(database, notes.print)
