"""What is known of what is stored: stretches, gaps, and filling them."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, status

from market_data.api.dependencies import (
    LIST_DEFAULT,
    EndQuery,
    Gaps,
    Instruments,
    ListLimit,
    PageTokenQuery,
    StartQuery,
    SymbolsQuery,
    wanted_of,
)
from market_data.api.documentation import problems
from market_data.api.shapes import coverage_read, gap_read
from market_data.repositories.series import SeriesFilter
from market_data.schemas.coverage import CoverageRead, GapRead, RepairCreate
from market_data.schemas.envelope import Page
from market_data.schemas.fields import IntervalText, Source
from market_data.schemas.job import JobRead
from market_data.schemas.price_query import Ids
from market_data.services.gaps import Window

router = APIRouter(tags=["coverage"])

CoverageLimit = Annotated[int, Query(ge=1, le=100, description="Series on a page.")]


async def _filter(
    instruments: Instruments,
    symbols: SymbolsQuery = None,
    instrument_ids: Annotated[Ids, Query()] = None,
    interval: Annotated[IntervalText | None, Query()] = None,
    source: Annotated[Source | None, Query(description="Only this source.")] = None,
) -> SeriesFilter:
    ids = None
    if symbols is not None or instrument_ids is not None:
        named = wanted_of(symbols, instrument_ids)
        ids = await instruments.ids_of(named.symbols) if named.symbols else named.ids
    return SeriesFilter(instrument_ids=ids, interval=interval, source=source)


async def _window(start: StartQuery = None, end: EndQuery = None) -> Window:
    return Window(start=start, end=end)


Wanted = Annotated[SeriesFilter, Depends(_filter)]
Within = Annotated[Window, Depends(_window)]


@router.get("/coverage", responses=problems(400, 404, 422))
async def list_coverage(
    service: Gaps,
    wanted: Wanted,
    window: Within,
    limit: CoverageLimit = 10,
    page_token: PageTokenQuery = None,
) -> Page[CoverageRead]:
    """Tell of each series, in order of symbol, which stretches are present, missing, or known to be empty."""
    found, token = await service.list_coverage(wanted, window, limit=limit, page_token=page_token)
    return Page(data=[coverage_read(one) for one in found], next_page_token=token)


@router.get("/gaps", responses=problems(400, 404, 422))
async def list_gaps(
    service: Gaps,
    wanted: Wanted,
    window: Within,
    limit: ListLimit = LIST_DEFAULT,
    page_token: PageTokenQuery = None,
) -> Page[GapRead]:
    """List the stretches that should have bars and have none: by symbol, series, then start."""
    found, token = await service.list_gaps(wanted, window, limit=limit, page_token=page_token)
    return Page(data=[gap_read(one) for one in found], next_page_token=token)


@router.post(
    "/gaps/repair", status_code=status.HTTP_202_ACCEPTED, responses=problems(400, 404, 409, 413, 422)
)
async def repair_gaps(service: Gaps, instruments: Instruments, body: RepairCreate) -> Page[JobRead]:
    """Have gaps filled, by each series' source or by the provider that is named; follow the jobs."""
    ids = body.instrument_ids or await instruments.ids_of(body.symbols or [])
    wanted = SeriesFilter(instrument_ids=ids, interval=body.interval, source=body.source)
    jobs = await service.repair(wanted, body.provider)
    return Page(data=[JobRead.model_validate(one.fields) for one in jobs], next_page_token=None)
