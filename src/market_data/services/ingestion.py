"""Pulling bars from providers because somebody asked for them: at once, or by the queue."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import structlog

from market_data.core.exceptions import (
    InvalidInput,
    ProviderAuthError,
    ProviderError,
    ProviderRateLimited,
)
from market_data.core.interval import Interval, parse_instant, require_range
from market_data.core.spans import Span
from market_data.core.vocabulary import JobKind, RunStatus
from market_data.db.liveness import Liveness
from market_data.db.session import Database
from market_data.etl.provider import BarRequest, ProviderClient, ProviderSpec
from market_data.etl.registry import find_provider, require_key
from market_data.models import IngestionRun
from market_data.repositories.ingestion_run import QUEUED, IngestionRunRepository
from market_data.repositories.job import JobRepository, NewJob
from market_data.services.fetching import Fetcher
from market_data.services.pacing import open_shared
from market_data.services.recorder import RunRecorder

PRIORITY = 20
"""Of what somebody waits for, before all that the platform does by itself."""

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
    spans: tuple[Span, ...] = ()
    """Several ranges instead of the one from start to end."""

    def parameters(self) -> dict[str, Any]:
        """Return what the run's record shows."""
        shown: dict[str, Any] = {
            "provider": self.provider,
            "symbols": list(self.symbols),
            "interval": str(self.interval),
            "start": self.start.isoformat() if self.start else None,
            "end": self.end.isoformat() if self.end else None,
            "exchange": self.exchange,
            "name": self.label,
        }
        if self.spans:
            shown["spans"] = [[start.isoformat(), end.isoformat()] for start, end in self.spans]
        return shown

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> "IngestRequest":
        """Read back what a run's record shows."""
        start, end = parameters["start"], parameters["end"]
        return cls(
            provider=parameters["provider"],
            symbols=tuple(parameters["symbols"]),
            interval=Interval(parameters["interval"]),
            start=parse_instant(start) if start else None,
            end=parse_instant(end) if end else None,
            exchange=parameters["exchange"],
            label=parameters["name"],
            spans=tuple(Span(*map(parse_instant, one)) for one in parameters.get("spans", ())),
        )

    def ranges(self, symbol: str) -> list[BarRequest]:
        """Return what to ask for a symbol."""
        spans = self.spans or ((self.start, self.end),)
        return [
            BarRequest(symbol=symbol, interval=self.interval, start=start, end=end) for start, end in spans
        ]


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
Failures = dict[str, ProviderError | InvalidInput]
"""Why symbols failed, by symbol, in the order they were tried."""


class IngestionService:
    """Runs ingests: `ingest` here and now, `submit` and `resume` by the queue and its workers.

    Unless `open_client` says otherwise, all processes of the database share one pace of asking a provider.
    """

    def __init__(self, database: Database, liveness: Liveness, open_client: OpenClient | None = None) -> None:
        self._database = database
        self._liveness = liveness
        self._open_client: OpenClient = open_client or partial(open_shared, database)

    async def submit(self, request: IngestRequest) -> IngestionRun:
        """Put an ingest into the queue and return its run; both know the id of the request under way.

        Raises:
            ProviderNotFound: no such provider.
            ProviderAuthError: its key is not set.
            InvalidInput: it has no such interval.

        """
        spec = _ready(request)
        asked = structlog.contextvars.get_contextvars()
        origin = {"request_id": asked["request_id"]} if "request_id" in asked else {}
        parameters = request.parameters() | origin
        async with self._database.session() as session:
            run = await IngestionRunRepository(session).create(
                IngestionRun(source=spec.name, status=RunStatus.QUEUED, parameters=parameters, owner=QUEUED)
            )
            job = NewJob(
                kind=JobKind.FETCH,
                key=f"run:{run.id}",
                provider=spec.name,
                parameters={"run_id": run.id} | origin,
                priority=PRIORITY,
            )
            (run.job_id,) = await JobRepository(session).enqueue([job])
        return run

    async def ingest(self, request: IngestRequest, on_progress: OnProgress | None = None) -> IngestionRun:
        """Ingest now and return the finished run; what failed stands in its status and error.

        Raises:
            ProviderNotFound: no such provider.
            ProviderAuthError: its key is not set.
            InvalidInput: it has no such interval.

        """
        spec = _ready(request)
        recorder = await RunRecorder.create(self._database, self._liveness, spec.name, request.parameters())
        await recorder.start()
        run, _ = await self._record(recorder, request, list(request.symbols), on_progress)
        return run

    async def resume(self, run_id: int, job_id: int) -> tuple[IngestionRun, Failures]:
        """Do, or go on with, what was submitted: the symbols that are not done yet. Return what failed.

        Raises:
            RunNotFound: no such run.

        """
        recorder = await RunRecorder.resume(self._database, self._liveness, run_id, job_id)
        async with self._database.session() as session:
            parameters = (await IngestionRunRepository(session).get(run_id)).parameters
        request, done = IngestRequest.of(parameters), parameters.get("done", [])
        left = [symbol for symbol in request.symbols if symbol not in done]
        return await self._record(recorder, request, left, None)

    async def _record(
        self,
        recorder: RunRecorder,
        request: IngestRequest,
        symbols: list[str],
        on_progress: OnProgress | None,
    ) -> tuple[IngestionRun, Failures]:
        """Do the work between the record's start and finish, whatever happens in between."""
        with structlog.contextvars.bound_contextvars(run_id=recorder.run_id, provider=request.provider):
            async with recorder.recorded():
                failures = await self._work(recorder, request, symbols, on_progress)
            succeeded = len(request.symbols) - len(failures) - _untried(failures, symbols)
            status = _outcome(recorder, succeeded, bool(failures))
            run = await recorder.finish(status, _told(failures, symbols))
            _log.info("run finished", status=status, **recorder.counts)
            return run, failures

    async def _work(
        self,
        recorder: RunRecorder,
        request: IngestRequest,
        symbols: list[str],
        on_progress: OnProgress | None,
    ) -> Failures:
        """Ingest each symbol; one that fails does not stop the others, unless all would fail alike.

        Returns what failed, by symbol.
        """
        failures: Failures = {}
        wanted = len(request.symbols)
        done = [symbol for symbol in request.symbols if symbol not in symbols]
        async with self._open_client(request.provider) as client:
            for symbol in symbols:
                at = len(done) + len(failures)

                def report(bars: int, *, symbol: str = symbol, at: int = at) -> None:
                    if on_progress is not None:
                        on_progress(Progress(symbol, at, wanted, bars))

                fetcher = Fetcher(client, recorder, request.exchange, report)
                try:
                    for one in request.ranges(symbol):
                        await fetcher.fetch(one)
                except (ProviderError, InvalidInput) as error:
                    failures[symbol] = error
                    _log.warning("symbol failed", symbol=symbol, error=str(error))
                    if isinstance(error, ProviderAuthError | ProviderRateLimited):
                        break
                else:
                    done.append(symbol)
                    if wanted > 1:
                        await recorder.note(done=done)
        return failures


def _ready(request: IngestRequest) -> ProviderSpec:
    """Refuse at once what cannot succeed."""
    client = find_provider(request.provider)
    if request.interval not in client.spec.bases:
        offered = ", ".join(client.spec.bases)
        raise InvalidInput("interval", f"{client.spec.name} has no {request.interval} bars; it has {offered}")
    require_range(request.start, request.end)
    require_key(client)
    return client.spec


def _untried(failures: Failures, symbols: list[str]) -> int:
    """Return how many symbols were not tried, because the last failure is one that all would share."""
    last = next(reversed(failures), None)
    stopped = last is not None and isinstance(failures[last], ProviderAuthError | ProviderRateLimited)
    return len(symbols) - symbols.index(last) - 1 if last is not None and stopped else 0


def _told(failures: Failures, symbols: list[str]) -> str | None:
    lines = [f"{symbol}: {error}" for symbol, error in failures.items()]
    if untried := _untried(failures, symbols):
        lines.append(f"{untried} more symbols were not tried")
    return "; ".join(lines) or None


def _outcome(recorder: RunRecorder, succeeded: int, failed: bool) -> RunStatus:
    if failed and not succeeded and not recorder.stored:
        return RunStatus.FAILED
    return RunStatus.PARTIAL if failed or recorder.counts["rejected"] else RunStatus.SUCCEEDED
