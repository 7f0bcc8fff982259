"""Coverage of many series, page by page, and having their gaps filled."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, NamedTuple

import msgspec

from market_data.core.exceptions import InvalidInput, ProviderError, ProviderNotFound
from market_data.core.interval import require_range
from market_data.db.liveness import Liveness
from market_data.db.session import Database
from market_data.etl.registry import find_provider
from market_data.models import IngestionRun
from market_data.repositories.job import JobRepository
from market_data.repositories.series import KnownSeries, SeriesFilter, SeriesRepository
from market_data.services.coverage import CoverageService, SeriesCoverage, Stretch
from market_data.services.ingestion import PRIORITY, OpenClient
from market_data.services.jobs import Job, jobs_of
from market_data.services.paging import SymbolKey, cut_page, resume
from market_data.services.repair import RepairService
from market_data.services.scheduler import repair_job

_AT_ONCE = 100
"""Series read at a time while gaps are looked for."""


class GapKey(NamedTuple):
    """Behind which gap a list goes on."""

    symbol: Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,32}$")]
    id: Annotated[int, msgspec.Meta(ge=1, lt=2**31)]
    start: Annotated[datetime, msgspec.Meta(tz=True)]


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of a series that should have bars and has none."""

    of: SeriesCoverage
    stretch: Stretch

    @property
    def key(self) -> GapKey:
        """Its place in a list."""
        return GapKey(self.of.instrument.symbol, self.of.series.id, self.stretch.start)


@dataclass(frozen=True, slots=True)
class Repaired:
    """What became of the gaps of a series."""

    before: SeriesCoverage
    after: SeriesCoverage
    run: IngestionRun | None
    """None where there was nothing to ask for."""
    error: str | None


OnSeries = Callable[[SeriesCoverage, int, int], None]
"""Told which series is repaired now, which one that is, and of how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """From start (inclusive) to end (exclusive), each open where None."""

    start: datetime | None = None
    end: datetime | None = None


class GapService:
    """What is known of many series, in order of symbol, then series; and their repair."""

    def __init__(self, database: Database, liveness: Liveness, open_client: OpenClient | None = None) -> None:
        self._database = database
        self._coverage = CoverageService(database)
        self._repair = RepairService(database, liveness, open_client)

    async def list_coverage(
        self, wanted: SeriesFilter, window: Window, *, limit: int, page_token: str | None
    ) -> tuple[list[SeriesCoverage], str | None]:
        """Return a page of series and what is known of each, and the token of the next one.

        Raises:
            InvalidInput: the window ends before it starts.
            InvalidPageToken: the token is damaged or another query's.

        """
        require_range(window.start, window.end)
        query = ("coverage", asdict(wanted), asdict(window))
        after = resume(page_token, query, SymbolKey)
        found = await self._series(wanted, limit + 1, after)
        page, token = cut_page(found, limit, query, lambda one: (one.symbol, one.id))
        return [await self._coverage.of(one.id, window.start, window.end) for one in page], token

    async def list_gaps(
        self, wanted: SeriesFilter, window: Window, *, limit: int, page_token: str | None
    ) -> tuple[list[Gap], str | None]:
        """Return a page of gaps by series, then start, and the token of the next one.

        Raises:
            InvalidInput: the window ends before it starts.
            InvalidPageToken: the token is damaged or another query's.

        """
        require_range(window.start, window.end)
        query = ("gaps", asdict(wanted), asdict(window))
        behind = resume(page_token, query, GapKey)
        found: list[Gap] = []
        after = None if behind is None else SymbolKey(behind.symbol, behind.id - 1)
        while len(found) <= limit:
            some = await self._series(wanted, _AT_ONCE, after)
            for one in some:
                gaps = await self._gaps(one.id, window)
                found += [gap for gap in gaps if behind is None or gap.key > behind]
                if len(found) > limit:
                    break
            if len(some) < _AT_ONCE:
                break
            after = SymbolKey(some[-1].symbol, some[-1].id)
        return cut_page(found, limit, query, lambda one: one.key)

    async def repair(self, wanted: SeriesFilter, provider: str | None = None) -> list[Job]:
        """Have the gaps of series filled at once: by their sources, or by a provider that is named.

        Return the jobs; with a provider, only series that have gaps get one. A job may be done already when
        this returns, and is left out then.

        Raises:
            ProviderNotFound: no such provider.
            InvalidInput: no series fits, or there is nobody to ask for one of them.

        """
        asked = None if provider is None else find_provider(provider).spec.name
        found = await self.repairable(wanted, asked)
        own = [one for one in found if asked in {None, one.source}]
        others = [one for one in found if one not in own]
        runs = [await self._repair.from_elsewhere(one.id, asked or one.source) for one in others]
        async with self._database.session() as session:
            jobs = [repair_job(one.id, one.source, PRIORITY) for one in own]
            made = await JobRepository(session).enqueue(jobs, hurry=True)
            return await jobs_of(session, [*made, *(run.job_id for run in runs if run is not None)])

    async def repair_now(
        self, wanted: SeriesFilter, provider: str | None, on_series: OnSeries
    ) -> list[Repaired]:
        """Fill the gaps of series here and now; one that fails does not stop the others.

        Raises:
            ProviderNotFound: no such provider.
            InvalidInput: no series fits.

        """
        asked = None if provider is None else find_provider(provider).spec.name
        found, done = await self.repairable(wanted, asked), []
        for place, one in enumerate(found):
            before = await self._coverage.of(one.id)
            on_series(before, place, len(found))
            run, error = await self._repair_one(one, asked)
            done.append(Repaired(before, await self._coverage.of(one.id), run, error))
        return done

    async def _repair_one(
        self, one: KnownSeries, provider: str | None
    ) -> tuple[IngestionRun | None, str | None]:
        try:
            if provider in {None, one.source}:
                run = await self._repair.work(one.id)
            else:
                run = await self._repair.elsewhere_now(one.id, provider or one.source)
        except (ProviderError, InvalidInput) as error:
            return None, str(error)
        return run, None if run is None else run.error

    async def repairable(self, wanted: SeriesFilter, provider: str | None = None) -> list[KnownSeries]:
        """Return the series that can be repaired: without a provider, those whose source is one.

        Raises:
            InvalidInput: there is none.

        """
        found = await self._series(wanted, None, None)
        asked = [one for one in found if provider is not None or _is_provider(one.source)]
        if not asked:
            told = "their bars came from no provider: name one" if found else "nothing like that is stored"
            raise InvalidInput("provider" if found else "symbols", told)
        return asked

    async def _series(
        self, wanted: SeriesFilter, limit: int | None, after: SymbolKey | None
    ) -> Sequence[KnownSeries]:
        async with self._database.session() as session:
            return await SeriesRepository(session).list_known(wanted, limit=limit, after=after)

    async def _gaps(self, series_id: int, window: Window) -> list[Gap]:
        known = await self._coverage.of(series_id, window.start, window.end)
        return [Gap(known, one) for one in known.gaps]


def _is_provider(source: str) -> bool:
    try:
        find_provider(source)
    except ProviderNotFound:
        return False
    return True
