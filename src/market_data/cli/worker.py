"""`market-data worker`: does the jobs of the queue, beside or instead of the one in `serve`."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from market_data.cli.output import notes
from market_data.cli.running import fast_loop
from market_data.core import logging, metrics
from market_data.core.config import Settings, get_settings
from market_data.core.exceptions import ConfigurationError
from market_data.db.home import open_home
from market_data.db.liveness import Liveness
from market_data.services.run import RunService
from market_data.services.worker import make_worker

app = typer.Typer()


@app.command(epilog="Example: DATABASE_URL=postgresql://... market-data worker --jobs 16")
def worker(
    jobs: Annotated[
        int | None, typer.Option(help="Jobs at the same time; default JOBS_AT_ONCE.", min=1, max=256)
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(help="Serve /metrics of this worker on HOST; default METRICS_PORT.", min=1, max=65535),
    ] = None,
) -> None:
    """Do the jobs of the queue until Ctrl-C; run as many as wanted, wherever the database can be reached."""
    settings = get_settings()
    given = {"jobs_at_once": jobs, "metrics_port": metrics_port}
    settings = settings.model_copy(update={name: n for name, n in given.items() if n is not None})
    if not settings.jobs_at_once:
        raise ConfigurationError("JOBS_AT_ONCE=0 leaves a worker nothing to do: use --jobs 8")
    logging.configure(settings.log_level, settings.log_format)
    with _telling(settings), asyncio.Runner(loop_factory=fast_loop) as runner:
        runner.run(_work(settings))


@contextmanager
def _telling(settings: Settings) -> Iterator[None]:
    """Serve what this process counts, where that is wanted."""
    if not settings.metrics_port:
        yield
        return
    settings.require_guard()
    try:
        stop = metrics.serve(settings.host, settings.metrics_port)
    except OSError as error:
        raise ConfigurationError(
            f"METRICS_PORT: cannot listen on {settings.host}:{settings.metrics_port} ({error.strerror}). "
            "Stop what uses it, or choose another: METRICS_PORT=9102"
        ) from None
    notes.print(f"metrics on http://{settings.host}:{settings.metrics_port}/metrics")
    try:
        yield
    finally:
        stop()


async def _work(settings: Settings) -> None:
    async with open_home(settings) as database:
        await RunService(database).interrupt_dead()
        liveness = Liveness(database)
        made = make_worker(database, liveness, settings)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, made.stop)
        notes.print(f"working: up to {settings.jobs_at_once} jobs at once. Ctrl-C stops it")
        task = asyncio.create_task(made.run())
        try:
            await made.stopped()
            await made.ended(task)
        finally:
            await liveness.close()
        notes.print("stopped; what was under way went back into the queue")
