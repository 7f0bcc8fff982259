"""Running the API: in this process, or in several that end with it."""

import multiprocessing
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr
from uvicorn.supervisors import Multiprocess

from market_data.api.protocol import JoiningProtocol
from market_data.cli.output import notes
from market_data.core import metrics
from market_data.core.config import Settings, get_settings
from market_data.db.home import hide_password
from market_data.main import create_app

_OPTIONS: dict[str, Any] = {
    "http": JoiningProtocol,
    "log_config": None,
    "access_log": False,
    "timeout_graceful_shutdown": 30,
}
"""Our own logging; a stop waits this many seconds for requests under way."""


class _Server(uvicorn.Server):
    """Says when it can be reached, and returns when a signal has stopped it."""

    def __init__(self, config: uvicorn.Config, settings: Settings) -> None:
        super().__init__(config)
        self._settings = settings

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        announce(self._settings)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop; a second Ctrl-C gives up waiting for requests, but running ingests are still recorded."""
        await super().shutdown(sockets)
        if self.force_exit:
            await self.lifespan.shutdown()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Be stopped by signals as uvicorn is, but not raise them again: the database is stopped after."""
        before = {number: signal.signal(number, self.handle_exit) for number in _STOPPING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


_STOPPING = (signal.SIGINT, signal.SIGTERM)


def run_here(settings: Settings, url: str, listening: socket.socket) -> bool:
    """Serve in this process until a signal stops it; tell whether it had started."""
    app = create_app(settings.model_copy(update={"database_url": SecretStr(url)}))
    server = _Server(uvicorn.Config(app, **_OPTIONS), settings)
    try:
        server.run(sockets=[listening])
    except SystemExit:  # uvicorn's answer to an application that does not start
        return False
    return server.started


class _Workers(Multiprocess):
    """Says when all workers can be reached."""

    def __init__(self, config: uvicorn.Config, listening: socket.socket, settings: Settings) -> None:
        super().__init__(config, [listening])
        self._settings = settings
        self.started = False

    def keep_subprocess_alive(self) -> None:
        super().keep_subprocess_alive()
        if not self.started and all(process.is_ready() for process in self.processes):
            self.started = True
            announce(self._settings)


def run_workers(settings: Settings, url: str, listening: socket.socket) -> bool:
    """Serve in `WORKERS` processes until a signal stops them; tell whether they had started."""
    os.environ["DATABASE_URL"] = url  # inherited: what others could see of a process would show an argument
    config = uvicorn.Config(
        "market_data.cli.servers:worker", factory=True, workers=settings.workers, **_OPTIONS
    )
    workers = _Workers(config, listening, settings)
    with tempfile.TemporaryDirectory(prefix="market-data-metrics-") as folder:
        os.environ[metrics.FOLDER] = folder  # whichever worker is asked tells what all of them counted
        try:
            workers.run()
        finally:
            del os.environ[metrics.FOLDER]
    return workers.started


def worker() -> FastAPI:
    """Build the API in a worker process, which ends when the process that started it is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    settings = get_settings()
    if settings.database_url is not None:
        hide_password(settings.database_url.get_secret_value())
    return create_app(settings)


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def announce(settings: Settings) -> None:
    """Say where the API is."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"http://{host}:{settings.port}"
    notes.print(f"serving on {address} (documentation: {address}/docs). Ctrl-C stops it")
