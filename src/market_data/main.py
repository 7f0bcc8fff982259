"""Entry point of the API: `create_app` builds it, `market-data serve` runs it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import structlog
from fastapi import FastAPI

from market_data import __version__
from market_data.api import documentation, problems
from market_data.api.context import BodyLimit, RequestContext
from market_data.api.direct import DirectPrices
from market_data.api.frames import FrameCache
from market_data.api.head import HeadAsGet
from market_data.api.responder import PriceResponder
from market_data.api.routes import (
    calendars,
    coverage,
    health,
    ingestions,
    instruments,
    jobs,
    metrics,
    prices,
    providers,
    schedules,
    series,
    subscriptions,
)
from market_data.core import logging
from market_data.core.config import Settings, get_settings
from market_data.core.exceptions import ConfigurationError
from market_data.db.liveness import Liveness
from market_data.db.session import Database
from market_data.services.aggregates import BackgroundAggregates
from market_data.services.gaps import GapService
from market_data.services.ingestion import IngestionService
from market_data.services.market_price import MarketPriceService
from market_data.services.metric import MetricService
from market_data.services.run import RunService
from market_data.services.sealing import BackgroundSealing
from market_data.services.upload import UploadService
from market_data.services.worker import BackgroundWorker

_DESCRIPTION = """Bars of any instrument, interval and source, exact and idempotent in, fast out.

Prices come as `json`, `columns`, `ndjson`, `csv`, `arrow` or `parquet`; failures as RFC 9457 problems."""

_log = structlog.get_logger(__name__)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[dict[str, asyncio.Event]]:
    settings: Settings = app.state.settings
    if settings.database_url is None:
        raise ConfigurationError("DATABASE_URL is not set; `market-data serve` starts the embedded server")
    database = Database(settings.database_url.get_secret_value(), echo=settings.debug)
    liveness = Liveness(database)
    app.state.database = database
    app.state.stopping = asyncio.Event()
    app.state.ingestions = IngestionService(database, liveness)
    app.state.gaps = GapService(database, liveness)
    memory = settings.frame_cache_bytes // 2  # half for whole answers, half for the blocks of others
    app.state.prices = MarketPriceService(database, settings.source_preference, memory)
    app.state.frames = FrameCache(memory)
    app.state.responder = PriceResponder(app.state.prices, app.state.frames)
    app.state.uploads = UploadService(database, liveness)
    app.state.metrics = MetricService(database, timedelta(seconds=settings.worker_timeout_seconds))
    try:
        interrupted = await RunService(database).interrupt_dead()
        if interrupted:
            _log.warning("runs of dead processes were marked as interrupted", runs=interrupted)
        working = BackgroundWorker(database, liveness, settings)
        sealing = BackgroundSealing(database, timedelta(seconds=settings.seal_after_seconds))
        aggregates = BackgroundAggregates(database)
        yield {"stopping": app.state.stopping}  # `JoiningProtocol` sets it when the server stops
        await aggregates.close()
        await sealing.close()
        await working.close()
    finally:
        await liveness.close()
        await database.close()


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the API over the database that `DATABASE_URL` names."""
    settings = settings or get_settings()
    logging.configure(settings.log_level, settings.log_format)
    app = FastAPI(
        title="Market Data Backend Platform",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=_lifespan,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # looked up anew for every request
    )
    app.state.settings = settings
    app.include_router(health.router)
    app.include_router(metrics.router)
    modules = (instruments, series, prices, ingestions, providers)
    for module in (*modules, subscriptions, schedules, jobs, coverage, calendars):
        app.include_router(module.router, prefix=settings.api_prefix)
    documentation.install(app)
    bulk = f"{settings.api_prefix}/prices"
    app.add_middleware(BodyLimit, bulk_path=bulk, bulk_bytes=settings.max_body_bytes)
    app.add_middleware(HeadAsGet)
    direct = {settings.api_prefix + path: how for path, how in prices.DIRECT.items()}
    app.add_middleware(DirectPrices, routes=direct)
    problems.install(app)
    names = {path: path.removeprefix(settings.api_prefix) for path in direct}
    names |= {path: path for path in ("/openapi.json", "/docs")}
    app.add_middleware(RequestContext, names=names)  # the outermost: the last one added
    return app
