"""Runs: the record of every ingest, kept in the same transactions as the bars it speaks of."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from market_data.core.bars import Bars
from market_data.core.exceptions import MarketDataError
from market_data.core.vocabulary import RunStatus
from market_data.db.liveness import Liveness
from market_data.db.session import Database, Session
from market_data.etl.transformers.rejection import KEPT, Rejections, cut
from market_data.models import IngestionRun, Rejection
from market_data.repositories.ingestion_run import IngestionRunRepository, RunFilter
from market_data.repositories.market_price_writer import BarWriter, SeriesKey, WriteCounts
from market_data.services.paging import IdKey, cut_page, resume


class RunService:
    """Runs as others see them; each method is one unit of work."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, run_id: int) -> IngestionRun:
        """Return a run.

        Raises:
            RunNotFound: no such id.

        """
        async with self._database.session() as session:
            return await IngestionRunRepository(session).get(run_id)

    async def list_(
        self, wanted: RunFilter, *, limit: int, page_token: str | None
    ) -> tuple[list[IngestionRun], str | None]:
        """Return a page, newest first, and the token of the next one.

        Raises:
            InvalidPageToken: the token is damaged or another query's.

        """
        query = ("runs", asdict(wanted))
        after = resume(page_token, query, IdKey)
        async with self._database.session() as session:
            found = await IngestionRunRepository(session).list_(wanted, limit=limit + 1, after=after)
        return cut_page(found, limit, query, lambda one: (one.id,))

    async def list_rejections(
        self, run_id: int, *, limit: int, page_token: str | None
    ) -> tuple[list[Rejection], str | None]:
        """Return a page of the rows a run refused, in order, and the token of the next one.

        Raises:
            RunNotFound: no such id.
            InvalidPageToken: the token is damaged or another query's.

        """
        query = ("rejections", run_id)
        after = resume(page_token, query, IdKey)
        async with self._database.session() as session:
            runs = IngestionRunRepository(session)
            await runs.get(run_id)
            found = await runs.list_rejections(run_id, limit=limit + 1, after=after.id if after else None)
        return cut_page(found, limit, query, lambda one: (one.id,))

    async def interrupt_dead(self) -> int:
        """Mark the unfinished runs of processes that died as interrupted; return how many."""
        async with self._database.session() as session:
            return await IngestionRunRepository(session).interrupt_dead()


class RunRecorder:
    """Writes one run: its bars, its counts, its rejections, its outcome."""

    def __init__(self, database: Database, run_id: int) -> None:
        self.run_id = run_id
        self.counts: Counter[str] = Counter()
        """What is committed, or will be with the transaction under way."""
        self._database = database
        self._kept = 0
        self._open: tuple[BarWriter, IngestionRunRepository] | None = None

    @classmethod
    async def create(
        cls,
        database: Database,
        liveness: Liveness,
        source: str,
        parameters: Mapping[str, Any],
        status: RunStatus = RunStatus.QUEUED,
    ) -> "RunRecorder":
        """Record that something was asked for."""
        owner = await liveness.assert_alive()
        async with database.session() as session:
            run = IngestionRun(source=source, status=status, parameters=dict(parameters), owner=owner)
            created = await IngestionRunRepository(session).create(run)
        return cls(database, created.id)

    async def start(self) -> None:
        """Record that work begins."""
        async with self._database.session() as session:
            await IngestionRunRepository(session).start(self.run_id)

    async def store(
        self,
        batch: Mapping[SeriesKey, Bars],
        rejections: Iterable[tuple[str | None, Rejections]],
        unfinished: int = 0,
    ) -> WriteCounts:
        """Write bars, and what was refused (with the symbol it named), in the transaction that is open."""
        if self._open is None:
            raise RuntimeError("no transaction is open")
        writer, runs = self._open
        written = await writer.upsert(batch, self.run_id)
        rejected = 0
        for symbol, refused in rejections:
            rejected += refused.total
            kept = refused.kept[: KEPT - self._kept]
            self._kept += len(kept)
            rows = [asdict(one) | {"symbol": symbol[:64] if symbol else None} for one in kept]
            await runs.add_rejections(self.run_id, rows)
        self.counts.update(asdict(written) | {"unfinished": unfinished, "rejected": rejected})
        return written

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """Open a unit of work for `store`; what it counted is forgotten when it is rolled back."""
        before = self.counts.copy(), self._kept
        try:
            async with self._database.session() as session:
                runs = IngestionRunRepository(session)
                self._open = BarWriter(session), runs
                yield session
                await runs.add_counts(self.run_id, self.counts - before[0])
        except BaseException:
            self.counts, self._kept = before
            raise
        finally:
            self._open = None

    @asynccontextmanager
    async def recorded(self) -> AsyncIterator[None]:
        """Record how work ends that does not reach its end."""
        try:
            yield
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
