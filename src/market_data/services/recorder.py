"""How a run is written: its counts and rejections in the same transactions as the bars they speak of."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

import structlog

from market_data.core import clock, metrics
from market_data.core.bars import Bars
from market_data.core.exceptions import MarketDataError
from market_data.core.spans import Span
from market_data.core.vocabulary import RunStatus
from market_data.db.liveness import Liveness
from market_data.db.session import Database, Session
from market_data.etl.transformers.rejection import KEPT, Rejections, cut
from market_data.models import IngestionRun
from market_data.repositories.coverage import CoverageRepository
from market_data.repositories.ingestion_run import COUNTS, IngestionRunRepository
from market_data.repositories.market_price_writer import BarWriter, SeriesKey, WriteCounts


@dataclass(frozen=True, slots=True)
class _Unit:
    """What works in the transaction that is open."""

    writer: BarWriter
    runs: IngestionRunRepository
    coverage: CoverageRepository


class RunRecorder:
    """Writes one run: its bars, its counts, its rejections, its outcome."""

    def __init__(self, database: Database, run_id: int, source: str) -> None:
        self.run_id = run_id
        self.source = source
        self.counts: Counter[str] = Counter()
        """What is committed, or will be with the transaction under way."""
        self._database = database
        self._kept = 0
        self._open: _Unit | None = None

    @classmethod
    async def create(
        cls,
        database: Database,
        liveness: Liveness,
        source: str,
        parameters: Mapping[str, Any],
        status: RunStatus = RunStatus.QUEUED,
        *,
        job_id: int | None = None,
        subscription_id: int | None = None,
    ) -> "RunRecorder":
        """Record that something was asked for."""
        owner = await liveness.assert_alive()
        async with database.session() as session:
            run = IngestionRun(
                source=source,
                status=status,
                parameters=dict(parameters),
                owner=owner,
                created_at=clock.now(),
                job_id=job_id,
                subscription_id=subscription_id,
            )
            created = await IngestionRunRepository(session).create(run)
        return cls(database, created.id, source)

    @classmethod
    async def resume(
        cls, database: Database, liveness: Liveness, run_id: int, job_id: int | None = None
    ) -> "RunRecorder":
        """Go on with a run that waited, or did not reach its end; what it counted stays counted.

        Raises:
            RunNotFound: no such id.

        """
        owner = await liveness.assert_alive()
        async with database.session() as session:
            runs = IngestionRunRepository(session)
            run = await runs.get(run_id)
            await runs.start(run_id, owner, job_id)
        recorder = cls(database, run_id, run.source)
        recorder.counts.update({name: getattr(run, name) for name in COUNTS})
        recorder._kept = min(recorder.counts["rejected"], KEPT)
        return recorder

    async def start(self) -> None:
        """Record that work begins."""
        async with self._database.session() as session:
            await IngestionRunRepository(session).start(self.run_id)

    async def note(self, **parameters: object) -> None:
        """Add to what the record shows of the run."""
        async with self._database.session() as session:
            await IngestionRunRepository(session).note(self.run_id, parameters)

    async def expect(self, bars: int) -> None:
        """Record how many bars there will be, beside those that are counted already."""
        async with self._database.session() as session:
            await IngestionRunRepository(session).expect(self.run_id, self.stored + bars)

    @property
    def stored(self) -> int:
        """Bars stored, or found stored."""
        return sum(self.counts[name] for name in ("inserted", "updated", "unchanged"))

    async def store(
        self,
        batch: Mapping[SeriesKey, Bars],
        rejections: Iterable[tuple[str | None, Rejections]],
        unfinished: int = 0,
    ) -> WriteCounts:
        """Write bars, and what was refused (with the symbol it named), in the transaction that is open."""
        unit = self._unit()
        written = await unit.writer.upsert(batch, self.run_id)
        rejected = 0
        for symbol, refused in rejections:
            rejected += refused.total
            kept = refused.kept[: KEPT - self._kept]
            self._kept += len(kept)
            rows = [asdict(one) | {"symbol": symbol[:64] if symbol else None} for one in kept]
            await unit.runs.add_rejections(self.run_id, rows)
        self.counts.update(asdict(written) | {"unfinished": unfinished, "rejected": rejected})
        return written

    async def note_answer(self, key: SeriesKey, asked: Span, empty: Sequence[Span]) -> None:
        """Write into the ledger, in the transaction that is open, what a source answered."""
        unit = self._unit()
        await unit.coverage.note_answer(await unit.writer.series_id(key), asked, empty)

    async def series_id(self, key: SeriesKey) -> int:
        """Return the id of a series, made where it is not, in the transaction that is open."""
        return await self._unit().writer.series_id(key)

    def _unit(self) -> "_Unit":
        if self._open is None:
            raise RuntimeError("no transaction is open")
        return self._open

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """Open a unit of work for `store`; what it counted is forgotten when it is rolled back."""
        before = self.counts.copy(), self._kept
        try:
            async with self._database.session() as session:
                unit = _Unit(BarWriter(session), IngestionRunRepository(session), CoverageRepository(session))
                self._open = unit
                yield session
                await unit.runs.add_counts(self.run_id, self.counts - before[0])
        except BaseException:
            self.counts, self._kept = before
            raise
        else:
            metrics.bars_counted(self.source, self.counts - before[0])
        finally:
            self._open = None

    @asynccontextmanager
    async def recorded(self) -> AsyncIterator[None]:
        """Record how work ends that does not reach its end; the log names the run meanwhile.

        It still does when a failure is on its way to whoever reports it.
        """
        bound = structlog.contextvars.bind_contextvars(run_id=self.run_id)
        try:
            yield
            structlog.contextvars.reset_contextvars(**bound)
        except asyncio.CancelledError:
            await asyncio.shield(self.finish(RunStatus.CANCELLED, "stopped; repeating is safe"))
            raise
        except Exception as error:
            known = isinstance(error, MarketDataError)
            await self.finish(RunStatus.FAILED, str(error) if known else type(error).__name__)
            raise

    async def finish(self, status: RunStatus, error: str | None = None) -> IngestionRun:
        """Record the outcome and return the whole record."""
        async with self._database.session() as session:
            runs = IngestionRunRepository(session)
            await runs.finish(self.run_id, status, None if error is None else cut(error))
            return await runs.get(self.run_id)
