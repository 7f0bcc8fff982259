"""Filling gaps: what is missing is asked for again, and what the provider does not have is remembered."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from market_data.core import clock
from market_data.core.exceptions import InvalidInput, ProviderNotFound
from market_data.core.interval import Interval
from market_data.core.spans import Span, intersect
from market_data.core.vocabulary import RunStatus
from market_data.db.liveness import Liveness
from market_data.db.session import Database
from market_data.etl.provider import BarRequest, ProviderSpec
from market_data.etl.registry import find_provider
from market_data.models import IngestionRun
from market_data.repositories.instrument import InstrumentRepository
from market_data.services.coverage import CoverageService, SeriesCoverage
from market_data.services.fetching import Fetcher
from market_data.services.ingestion import IngestionService, IngestRequest, OpenClient
from market_data.services.pacing import open_shared
from market_data.services.planning import chunk_length, days_final_until, final_of, wanted_span
from market_data.services.recorder import RunRecorder


class RepairService:
    """Fills the gaps of one series at a time."""

    def __init__(self, database: Database, liveness: Liveness, open_client: OpenClient | None = None) -> None:
        self._database = database
        self._liveness = liveness
        self._open_client: OpenClient = open_client or partial(open_shared, database)
        self._coverage = CoverageService(database)
        self._ingestions = IngestionService(database, liveness, open_client)

    async def work(self, series_id: int, job_id: int | None = None) -> IngestionRun | None:
        """Ask the source of a series for its gaps; return the run, or None where there is nothing to ask.

        Raises:
            SeriesNotFound: no such id.
            ProviderError: the provider failed; what was stored before stays.
            InvalidInput: bars of this source came from no provider.

        """
        found = await self._coverage.of(series_id)
        spec, symbol = await self._asked(found, found.series.source)
        ranges = repairs(found, spec)
        if not ranges:
            return None
        parameters = _request(spec, symbol, found, ranges).parameters() | {"repair": True}
        recorder = await RunRecorder.create(
            self._database, self._liveness, spec.name, parameters, job_id=job_id
        )
        await recorder.start()
        interval = Interval(found.series.interval)
        days = days_final_until(interval, clock.now() - spec.settling, found.calendar)
        async with recorder.recorded(), self._open_client(spec.name) as client:
            await recorder.expect(sum(one.bars for one in found.gaps))
            fetcher = Fetcher(client, recorder, found.instrument.exchange)
            for start, end in ranges:
                wanted = BarRequest(symbol=symbol, interval=interval, start=start, end=end)
                await fetcher.fetch(wanted, days)
        rejected = recorder.counts["rejected"]
        return await recorder.finish(RunStatus.PARTIAL if rejected else RunStatus.SUCCEEDED)

    async def from_elsewhere(self, series_id: int, provider: str) -> IngestionRun | None:
        """Put into the queue that another provider is asked for the gaps; its bars are a series of its own.

        Raises:
            SeriesNotFound: no such id.
            ProviderNotFound: no such provider.
            InvalidInput: nobody knows what that provider calls the instrument.

        """
        request = await self._elsewhere(series_id, provider)
        return None if request is None else await self._ingestions.submit(request)

    async def _elsewhere(self, series_id: int, provider: str) -> IngestRequest | None:
        """Return what to ask another provider for; None where there is no gap."""
        found = await self._coverage.of(series_id)
        spec, symbol = await self._asked(found, provider)
        ranges = repairs(found, spec)
        return _request(spec, symbol, found, ranges) if ranges else None

    async def _asked(self, found: SeriesCoverage, provider: str) -> tuple[ProviderSpec, str]:
        """Return whom to ask, and by which symbol."""
        try:
            spec = find_provider(provider).spec
        except ProviderNotFound:
            if provider != found.series.source:
                raise
            raise InvalidInput(
                "provider", f"bars of source {provider} came from no provider: name one that has them"
            ) from None
        async with self._database.session() as session:
            symbol = await InstrumentRepository(session).find_provider_symbol(spec.name, found.instrument.id)
        if symbol is None:
            raise InvalidInput(
                "provider",
                f"nobody knows what {spec.name} calls {found.instrument.exchange}:{found.instrument.symbol}: "
                f"ingest it once with `market-data ingest {spec.name} SYMBOL`",
            )
        return spec, symbol

    async def elsewhere_now(self, series_id: int, provider: str) -> IngestionRun | None:
        """Ask another provider for the gaps here and now; else as `from_elsewhere`.

        Raises:
            SeriesNotFound: no such id.
            ProviderNotFound: no such provider.
            InvalidInput: nobody knows what that provider calls the instrument.

        """
        request = await self._elsewhere(series_id, provider)
        return None if request is None else await self._ingestions.ingest(request)


def repairs(found: SeriesCoverage, spec: ProviderSpec) -> list[Span]:
    """Return the ranges to ask for: gaps one answer reaches over are one, long ones are cut in chunks.

    What a subscription has not asked its provider for yet is left to it.
    """
    gaps = [Span(one.start, one.end) for one in found.gaps]
    if found.asked is not None and spec.name == found.series.source:
        gaps = intersect(gaps, found.asked)
    interval = Interval(found.series.interval)
    timezone = spec.timezone or found.instrument.timezone
    final = final_of(spec, interval, clock.now(), timezone, found.calendar)
    reach = (spec.page_bars or 1000) * interval.duration
    joined: list[Span] = []
    for gap in intersect(gaps, [wanted_span(spec, interval, gaps[0].start, final)]) if gaps else ():
        if joined and gap.end - joined[-1].start <= reach:
            joined[-1] = Span(joined[-1].start, gap.end)
        else:
            joined.append(gap)
    return [part for span in joined for part in _cut(span, chunk_length(spec, interval), interval)]


def _cut(span: Span, length: timedelta, interval: Interval) -> list[Span]:
    parts = []
    start = span.start
    while start < span.end:
        end = min(interval.ceil_instant(start + length), span.end)
        parts.append(Span(start, end))
        start = end
    return parts


def _request(spec: ProviderSpec, symbol: str, found: SeriesCoverage, ranges: Sequence[Span]) -> IngestRequest:
    return IngestRequest(
        provider=spec.name,
        symbols=(symbol,),
        interval=Interval(found.series.interval),
        exchange=found.instrument.exchange,
        spans=tuple(ranges),
    )
