"""`market-data serve`: everything the API needs, in one process tree."""

import asyncio
import os
import socket
from typing import Annotated

import typer
import uvicorn
from pydantic import SecretStr
from uvicorn.supervisors import Multiprocess

from market_data.cli.output import notes
from market_data.core.config import Settings, get_settings
from market_data.core.exceptions import ConfigurationError
from market_data.db.home import open_home, open_server
from market_data.main import create_app
from market_data.services.sample import ingest_sample


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: PORT=9000 market-data serve")(serve)


class _AnnouncingServer(uvicorn.Server):
    """Says when it can be reached."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            _announce(get_settings())


def serve(
    sample: Annotated[bool, typer.Option("--sample", help="First ingest the bundled sample.")] = False,
) -> None:
    """Serve the API; starts, migrates and finally stops the embedded database where none is given."""
    settings = get_settings()
    if settings.exposed and not settings.allow_insecure:
        raise ConfigurationError(
            f"HOST={settings.host} is reachable from other machines, and anyone there could read and write. "
            "Keep HOST=127.0.0.1, or set ALLOW_INSECURE=true if something else guards it"
        )
    listening = _bind(settings)
    with asyncio.Runner() as runner, listening:
        server = open_server(settings)
        url = runner.run(server.__aenter__())
        try:
            runner.run(_prepare(settings, sample=sample))
            _run(settings, url, listening)
        finally:
            runner.run(server.__aexit__(None, None, None))


def _bind(settings: Settings) -> socket.socket:
    """Take the port before anything else is started."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        raise ConfigurationError(
            f"PORT: cannot listen on {settings.host}:{settings.port} ({error.strerror}). "
            "Stop what uses it, or choose another: PORT=8001"
        ) from None
    listening.set_inheritable(True)
    return listening


async def _prepare(settings: Settings, *, sample: bool) -> None:
    async with open_home(settings) as database:
        if sample:
            await ingest_sample(database, notes.print)


def _run(settings: Settings, url: str, listening: socket.socket) -> None:
    if settings.workers == 1:
        app = create_app(settings.model_copy(update={"database_url": SecretStr(url)}))
        config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=30)
        _AnnouncingServer(config).run(sockets=[listening])
        return
    os.environ["DATABASE_URL"] = url  # for the worker processes
    config = uvicorn.Config(
        "market_data.main:create_app",
        factory=True,
        workers=settings.workers,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=30,
    )
    _announce(settings)
    Multiprocess(config, sockets=[listening]).run()


def _announce(settings: Settings) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"http://{host}:{settings.port}"
    notes.print(f"serving on {address} (documentation: {address}/docs). Ctrl-C stops it")
