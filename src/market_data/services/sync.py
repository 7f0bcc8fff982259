"""Keeping a subscription up to date: plan, ask, store, note, until nothing is left that is final."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from time import monotonic

import structlog

from market_data.core import clock
from market_data.core.exceptions import (
    InvalidInput,
    MalformedAnswer,
    ProviderError,
    ProviderRateLimited,
    ProviderUnavailable,
    SymbolNotFound,
)
from market_data.core.interval import Interval
from market_data.core.spans import Span, subtract, union
from market_data.core.vocabulary import RunStatus
from market_data.db.liveness import Liveness
from market_data.db.session import Database
from market_data.etl.provider import BarRequest
from market_data.etl.registry import find_provider
from market_data.etl.transformers.rejection import cut
from market_data.models import Subscription
from market_data.repositories.coverage import Answer, CoverageRepository
from market_data.repositories.ingestion_run import IngestionRunRepository
from market_data.repositories.instrument import InstrumentRepository
from market_data.repositories.market_price_writer import SeriesKey
from market_data.repositories.series import SeriesRepository
from market_data.repositories.subscription import SubscriptionRepository
from market_data.services.calendars import CalendarService
from market_data.services.fetching import Fetcher
from market_data.services.ingestion import OpenClient
from market_data.services.pacing import open_shared
from market_data.services.planning import (
    chunk_length,
    chunk_of,
    grown,
    next_look,
)
from market_data.services.recorder import RunRecorder
from market_data.services.sync_state import SyncState

SHORTEST_PAUSE = timedelta(seconds=20)
"""Between two looks at a subscription, whatever calendars and clocks say."""
FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(days=1)
"""Between attempts at a subscription that fails: twice as long each time, up to this."""

_log = structlog.get_logger(__name__)


class SyncService:
    """Looks after subscriptions, one at a time."""

    def __init__(self, database: Database, liveness: Liveness, open_client: OpenClient | None = None) -> None:
        self._database = database
        self._liveness = liveness
        self._open_client: OpenClient = open_client or partial(open_shared, database)
        self._calendars = CalendarService(database)

    async def sync(
        self,
        subscription_id: int,
        job_id: int | None = None,
        *,
        last_try: bool = False,
        stopping: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Bring a subscription up to date, or stop between chunks when told; return whether more is left.

        On the last try a chunk that fails is noted as failed, and the others go on.

        Raises:
            ProviderError: the provider failed; what was stored before stays.
            InvalidInput: what it lists contradicts the catalogue.

        """
        state = await self._open(subscription_id)
        if state is None:
            return False
        subscription = state.subscription
        context = {"subscription_id": subscription_id, "provider": subscription.provider, "job_id": job_id}
        with structlog.contextvars.bound_contextvars(**context):
            try:
                left = await self._catch_up(state, job_id, last_try, stopping)
            except (ProviderError, InvalidInput) as error:
                await self._failed(subscription, error)
                raise
            if not left:
                await self._settled(state)
            return left

    async def _open(self, subscription_id: int) -> SyncState | None:
        async with self._database.session() as session:
            subscription = await SubscriptionRepository(session).find(subscription_id)
        if subscription is None or not subscription.active:
            return None
        spec = find_provider(subscription.provider).spec
        state = SyncState(subscription, spec, Interval(subscription.interval))
        series_id = subscription.series_id or await self._find_series(state)
        if series_id is not None:
            await self._know(state, series_id)
        return state

    async def _find_series(self, state: SyncState) -> int | None:
        """Return the series of a symbol that was ingested before anybody subscribed to it."""
        provider, symbol = state.subscription.provider, state.subscription.symbol
        async with self._database.session() as session:
            instrument = await InstrumentRepository(session).find_by_provider_symbol(provider, symbol)
            if instrument is None or not instrument.active:
                return None
            key = SeriesKey(instrument.id, state.interval, provider, state.spec.bases[state.interval])
            return await SeriesRepository(session).find_id(key)

    async def _know(self, state: SyncState, series_id: int) -> None:
        """Note which series it is, and so which instrument and calendar."""
        if state.series_id == series_id:
            return
        async with self._database.session() as session:
            series = await SeriesRepository(session).get(series_id)
            state.instrument = await InstrumentRepository(session).get(series.instrument_id)
            if state.subscription.series_id != series_id:
                await SubscriptionRepository(session).settle(state.subscription.id, series_id=series_id)
        state.series_id = series_id
        state.calendar = await self._calendars.of(state.instrument, state.interval)

    async def _catch_up(
        self, state: SyncState, job_id: int | None, last_try: bool, stopping: Callable[[], bool]
    ) -> bool:
        chunk = await self._next(state)
        if chunk is None:
            return False
        recorder = await self._recorder(state, job_id)
        begun, before, chunks = monotonic(), recorder.stored, 0
        async with recorder.recorded():
            expected = await self._expect(state, recorder)
            failures: list[str] = []
            async with self._open_client(state.subscription.provider) as client:
                fetcher = Fetcher(client, recorder, state.subscription.exchange)
                while chunk is not None and not stopping():
                    try:
                        await self._fetch(state, fetcher, chunk)
                        expected = expected or await self._expect(state, recorder)
                        await self._got_on(state.subscription)
                    except (MalformedAnswer, ProviderUnavailable) as error:
                        if not last_try or state.series_id is None:
                            raise
                        failures.append(str(error))
                        await self._note_failure(state.series_id, chunk)
                    chunks += 1
                    asked, chunk = chunk, await self._next(state)
                    if chunk == asked:  # its answer was not final after all: the next look will see
                        chunk = None
            if chunks:
                done = {"bars": recorder.stored - before, "chunks": chunks, "failed": len(failures)}
                _log.info("sync finished", **done, seconds=round(monotonic() - begun, 2), more=bool(chunk))
        rejected = recorder.counts["rejected"]
        status = RunStatus.PARTIAL if failures or rejected else RunStatus.SUCCEEDED
        await recorder.finish(status, "; ".join(failures[:10]) or None)
        return chunk is not None

    async def _fetch(self, state: SyncState, fetcher: Fetcher, chunk: Span) -> None:
        wanted = BarRequest(
            symbol=state.subscription.symbol, interval=state.interval, start=chunk.start, end=chunk.end
        )
        try:
            series_id = await fetcher.fetch(wanted, state.final_days_until)
        except SymbolNotFound:
            if not await self._is_older(state, chunk):
                raise
            return
        if series_id is None:
            raise ProviderUnavailable(state.spec.name, f"gave no page for {wanted.symbol}")
        await self._know(state, series_id)

    async def _is_older(self, state: SyncState, chunk: Span) -> bool:
        """Whether a chunk lies before the first bar: there, some providers know no symbol. Then note it."""
        if state.series_id is None:
            return False
        async with self._database.session() as session:
            series = SeriesRepository(session)
            await series.lock(state.series_id)
            first = (await series.get(state.series_id)).first_ts
            if first is None or chunk.end > first:
                return False
            await CoverageRepository(session).note_answer(state.series_id, chunk, [chunk])
        return True

    async def _next(self, state: SyncState) -> Span | None:
        """Return the chunk to ask for now."""
        wanted = state.wanted
        length = chunk_length(state.spec, state.interval)
        if state.series_id is None:
            return chunk_of([wanted] if wanted.start < wanted.end else [], [], length, state.interval, 0)
        async with self._database.session() as session:
            coverage = CoverageRepository(session)
            known = union(
                await coverage.spans(state.series_id, Answer.ANSWERED, *wanted),
                await coverage.spans(state.series_id, Answer.FAILED, *wanted),
            )
            left = subtract([wanted], known)
            end = left[-1].end if left else wanted.end
            behind = end + timedelta(microseconds=1)
            empty = await coverage.spans(state.series_id, Answer.NO_TRADE, end, behind)
        length = grown(length, end, empty)
        return chunk_of(left, known, length, state.interval, state.spec.overlap, wanted.start)

    async def _got_on(self, subscription: Subscription) -> None:
        """Count failures anew: the provider has answered."""
        if subscription.failures:
            subscription.failures = 0
            async with self._database.session() as session:
                await SubscriptionRepository(session).settle(subscription.id, failures=0, error=None)

    async def _expect(self, state: SyncState, recorder: RunRecorder) -> bool:
        """Record how many bars there are to be, if that is known; return whether it is."""
        if state.calendar is None or state.series_id is None:
            return False
        async with self._database.session() as session:
            known = await CoverageRepository(session).spans(state.series_id, Answer.ANSWERED, *state.wanted)
        left = subtract([state.wanted], known)
        alignment = state.spec.alignment
        await recorder.expect(sum(state.calendar.count(state.interval, *one, alignment) for one in left))
        return True

    async def _recorder(self, state: SyncState, job_id: int | None) -> RunRecorder:
        """Go on with the day's run of the subscription, or begin one: minutes would make a run each."""
        subscription = state.subscription
        midnight = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
        async with self._database.session() as session:
            run = await IngestionRunRepository(session).find_of_day(subscription.id, midnight)
        if run is None:
            parameters = {
                "provider": subscription.provider,
                "symbols": [subscription.symbol],
                "interval": subscription.interval,
                "start": subscription.since.isoformat(),
                "subscription_id": subscription.id,
            }
            created = await RunRecorder.create(
                self._database,
                self._liveness,
                subscription.provider,
                parameters,
                job_id=job_id,
                subscription_id=subscription.id,
            )
            await created.start()
            return created
        return await RunRecorder.resume(self._database, self._liveness, run.id, job_id)

    async def _note_failure(self, series_id: int, chunk: Span) -> None:
        async with self._database.session() as session:
            await SeriesRepository(session).lock(series_id)
            await CoverageRepository(session).note_failure(series_id, chunk)

    async def _failed(self, subscription: Subscription, error: ProviderError | InvalidInput) -> None:
        """Put the next attempt off; a provider that is asked too often is no failure of the subscription."""
        if isinstance(error, ProviderRateLimited):
            return
        failures = subscription.failures + 1
        pause = min(FIRST_PAUSE * 2 ** min(failures - 1, 20), LONGEST_PAUSE)
        async with self._database.session() as session:
            await SubscriptionRepository(session).settle(
                subscription.id, failures=failures, error=cut(str(error)), due_at=clock.now() + pause
            )

    async def _settled(self, state: SyncState) -> None:
        look = next_look(
            state.interval,
            state.final,
            state.settled,
            state.spec.settling,
            state.timezone,
            state.spec.alignment,
            state.calendar,
        )
        async with self._database.session() as session:
            await SubscriptionRepository(session).settle(
                state.subscription.id,
                failures=0,
                error=None,
                due_at=max(look, clock.now() + SHORTEST_PAUSE),
            )
