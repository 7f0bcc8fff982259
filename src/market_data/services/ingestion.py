"""Pulling bars from providers: fetch, settle the listing, normalise, store, record."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, cast

import structlog

from market_data.core import clock
from market_data.core.exceptions import (
    InvalidInput,
    ProviderAuthError,
    ProviderError,
    ProviderRateLimited,
)
from market_data.core.interval import Interval, require_range
from market_data.core.vocabulary import AssetClass, RunStatus
from market_data.db.liveness import Liveness
from market_data.db.session import Database
from market_data.etl.provider import BarRequest, Page, ProviderClient, ProviderSpec
from market_data.etl.registry import find_provider, require_key
from market_data.etl.transformers.normalise import normalise
from market_data.etl.transformers.rejection import Rejections
from market_data.etl.transformers.rules import Rules
from market_data.models import IngestionRun
from market_data.repositories.market_price_writer import SeriesKey
from market_data.services.listing import settle_listing
from market_data.services.pacing import open_shared
from market_data.services.run import RunRecorder, RunService

AT_ONCE = 2
"""Background runs of one process that work at the same time; the others stay queued."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestRequest:
    """Bars to pull: the provider's own symbols, and start inclusive, end exclusive, aware UTC or open."""

    provider: str
    symbols: tuple[str, ...]
    interval: Interval = Interval.D1
    start: datetime | None = None
    end: datetime | None = None
    exchange: str | None = None
    """Where the symbols trade, for providers that do not say."""
    label: str | None = None
    """A name for the run's record."""

    def parameters(self) -> dict[str, Any]:
        """Return what the run's record shows."""
        return {
            "provider": self.provider,
            "symbols": list(self.symbols),
            "interval": str(self.interval),
            "start": self.start.isoformat() if self.start else None,
            "end": self.end.isoformat() if self.end else None,
            "exchange": self.exchange,
            "name": self.label,
        }


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    symbol: str
    symbols_done: int
    symbols_wanted: int
    bars: int
    """Bars stored or found stored so far."""


OnProgress = Callable[[Progress], None]
OpenClient = Callable[[str], AbstractAsyncContextManager[ProviderClient]]


class IngestionService:
    """Runs ingests, now or in the background. Close it: queued and running ones are then cancelled.

    Unless `open_client` says otherwise, all processes of the database share one pace of asking a provider.
    """

    def __init__(self, database: Database, liveness: Liveness, open_client: OpenClient | None = None) -> None:
        self._database = database
        self._liveness = liveness
        self._open_client: OpenClient = open_client or partial(open_shared, database)
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[IngestionRun]] = set()

    async def submit(self, request: IngestRequest) -> IngestionRun:
        """Queue an ingest and return its run.

        Raises:
            ProviderNotFound: no such provider.
            ProviderAuthError: its key is not set.
            InvalidInput: it has no such interval.

        """
        spec = _ready(request)
        recorder = await RunRecorder.create(self._database, self._liveness, spec.name, request.parameters())
        task = asyncio.create_task(self._when_free(recorder, request))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return await RunService(self._database).get(recorder.run_id)

    async def ingest(self, request: IngestRequest, on_progress: OnProgress | None = None) -> IngestionRun:
        """Ingest now and return the finished run; what failed stands in its status and error.

        Raises:
            ProviderNotFound: no such provider.
            ProviderAuthError: its key is not set.
            InvalidInput: it has no such interval.

        """
        spec = _ready(request)
        recorder = await RunRecorder.create(self._database, self._liveness, spec.name, request.parameters())
        return await self._record(recorder, request, on_progress)

    async def close(self) -> None:
        """Cancel what is queued or running and wait until that is recorded."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[IngestionRun]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("background run failed", exc_info=error)

    async def _when_free(self, recorder: RunRecorder, request: IngestRequest) -> IngestionRun:
        try:
            async with self._slots:
                return await self._record(recorder, request, None)
        except asyncio.CancelledError:
            await recorder.finish(RunStatus.CANCELLED, "the server was stopped; repeating is safe")
            raise

    async def _record(
        self, recorder: RunRecorder, request: IngestRequest, on_progress: OnProgress | None
    ) -> IngestionRun:
        """Do the work between the record's start and finish, whatever happens in between."""
        with structlog.contextvars.bound_contextvars(run_id=recorder.run_id, provider=request.provider):
            await recorder.start()
            async with recorder.recorded():
                succeeded, failures = await self._work(recorder, request, on_progress)
            status = _outcome(recorder, succeeded, failures)
            run = await recorder.finish(status, "; ".join(failures) or None)
            _log.info("run finished", status=status, **recorder.counts)
            return run

    async def _work(
        self, recorder: RunRecorder, request: IngestRequest, on_progress: OnProgress | None
    ) -> tuple[int, list[str]]:
        """Ingest each symbol; one that fails does not stop the others, unless all would fail alike.

        Returns how many succeeded and what failed.
        """
        succeeded = 0
        failures: list[str] = []
        async with self._open_client(request.provider) as client:
            for done, symbol in enumerate(request.symbols):

                def report(bars: int, *, symbol: str = symbol, done: int = done) -> None:
                    if on_progress is not None:
                        on_progress(Progress(symbol, done, len(request.symbols), bars))

                try:
                    await self._one(client, recorder, request, symbol, report)
                    succeeded += 1
                except (ProviderError, InvalidInput) as error:
                    failures.append(f"{symbol}: {error}")
                    _log.warning("symbol failed", symbol=symbol, error=str(error))
                    if isinstance(error, ProviderAuthError | ProviderRateLimited):
                        left = len(request.symbols) - done - 1
                        failures += [f"{left} more symbols were not tried"] if left else []
                        break
        return succeeded, failures

    async def _one(
        self,
        client: ProviderClient,
        recorder: RunRecorder,
        request: IngestRequest,
        symbol: str,
        report: Callable[[int], None],
    ) -> None:
        wanted = BarRequest(symbol=symbol, interval=request.interval, start=request.start, end=request.end)
        report(_stored(recorder))
        pages = cast("AsyncGenerator[Page]", client.fetch_bars(wanted))
        async with aclosing(pages):
            async for page in pages:
                await self._store(client.spec, recorder, request, symbol, page)
                report(_stored(recorder))

    async def _store(
        self, spec: ProviderSpec, recorder: RunRecorder, request: IngestRequest, symbol: str, page: Page
    ) -> None:
        rules = Rules(
            interval=request.interval,
            now=clock.now(),
            timezone=page.timezone,
            wall_clock=page.wall_clock,
            alignment=spec.alignment,
            any_sign=AssetClass(page.listing.asset_class).any_sign,
            start=request.start,
            end=request.end,
        )
        found = await asyncio.to_thread(normalise, page.rows, rules)
        broken = Rejections()
        for reason, text in page.rejections:
            broken.add(reason, "The provider sent a row that cannot be read.", text)
        async with recorder.transaction() as session:
            instrument = await settle_listing(session, spec.name, symbol, page.listing, request.exchange)
            key = SeriesKey(instrument.id, request.interval, spec.name, spec.bases[request.interval])
            batch = {key: found.bars} if len(found.bars) else {}
            await recorder.store(batch, [(symbol, found.rejections), (symbol, broken)], found.unfinished)


def _ready(request: IngestRequest) -> ProviderSpec:
    """Refuse at once what cannot succeed."""
    client = find_provider(request.provider)
    if request.interval not in client.spec.bases:
        offered = ", ".join(client.spec.bases)
        raise InvalidInput("interval", f"{client.spec.name} has no {request.interval} bars; it has {offered}")
    require_range(request.start, request.end)
    require_key(client)
    return client.spec


def _stored(recorder: RunRecorder) -> int:
    return sum(recorder.counts[name] for name in ("inserted", "updated", "unchanged"))


def _outcome(recorder: RunRecorder, succeeded: int, failures: list[str]) -> RunStatus:
    if failures and not succeeded and not _stored(recorder):
        return RunStatus.FAILED
    return RunStatus.PARTIAL if failures or recorder.counts["rejected"] else RunStatus.SUCCEEDED
