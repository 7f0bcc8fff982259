"""Runs: the record of every ingest, as others see it."""

from dataclasses import asdict

from market_data.db.session import Database
from market_data.models import IngestionRun, Rejection
from market_data.repositories.ingestion_run import IngestionRunRepository, RunFilter
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
