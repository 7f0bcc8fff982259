"""What is stored."""

from typing import Annotated

from fastapi import APIRouter, Query

from market_data.api.dependencies import (
    LIST_DEFAULT,
    Instruments,
    ListLimit,
    PageTokenQuery,
    SeriesDep,
    SourceQuery,
    SymbolsQuery,
    split_list,
)
from market_data.api.documentation import problems
from market_data.repositories.series import SeriesFilter
from market_data.schemas.envelope import Page
from market_data.schemas.fields import IntervalText
from market_data.schemas.series import SeriesRead

router = APIRouter(prefix="/series", tags=["series"])


@router.get("", responses=problems(400, 404, 422))
async def list_series(
    service: SeriesDep,
    instruments: Instruments,
    symbols: SymbolsQuery = None,
    interval: Annotated[IntervalText | None, Query()] = None,
    source: SourceQuery = None,
    limit: ListLimit = LIST_DEFAULT,
    page_token: PageTokenQuery = None,
) -> Page[SeriesRead]:
    """List the series that have bars, in order of symbol."""
    ids = None
    if symbols is not None:
        ids = await instruments.ids_of(split_list("symbols", symbols))
    wanted = SeriesFilter(instrument_ids=ids, interval=interval, source=source)
    found, token = await service.list_(wanted, limit=limit, page_token=page_token)
    return Page(data=[SeriesRead.model_validate(one) for one in found], next_page_token=token)
