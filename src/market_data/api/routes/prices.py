"""Bars out, bars in, bars taken back."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import BaseModel

from market_data.api.dependencies import (
    BasisQuery,
    EndQuery,
    IntervalQuery,
    Prices,
    StartQuery,
    Uploads,
    Wanted,
)
from market_data.api.direct import Reader
from market_data.api.documentation import bars, body_of_bars, problems
from market_data.api.price_request import latest_request, price_request, range_request
from market_data.api.responder import respond
from market_data.api.routes.instruments import InstrumentId
from market_data.core.interval import Alignment, Basis, require_range
from market_data.etl.readers.format import MEDIA_TYPES, FileFormat
from market_data.schemas.fields import ID_MAX, Exchange, IntervalText, Source, Symbol
from market_data.schemas.ingestion import DeleteResult, IngestResult
from market_data.schemas.price_query import LatestParams, PriceParams, RangeParams
from market_data.services.judging import Constants

router = APIRouter(tags=["prices"])

Accept = Annotated[str | None, Header(include_in_schema=False)]

DIRECT: dict[str, tuple[type[BaseModel], Reader]] = {
    "/prices": (PriceParams, price_request),
    "/prices/latest": (LatestParams, latest_request),
}
"""Served directly: see `api/direct.py`. The routes below are what FastAPI knows of them."""


@router.get("/prices", responses=bars(linked=True) | problems(400, 404, 406, 409, 422))
async def list_prices(
    request: Request, params: Annotated[PriceParams, Query()], accept: Accept = None
) -> Response:
    """Return bars: symbols as asked, within each by ts."""
    return await respond(request, price_request(params, accept))


@router.get("/prices/latest", responses=bars(linked=False) | problems(404, 406, 409, 422))
async def list_latest_prices(
    request: Request, params: Annotated[LatestParams, Query()], accept: Accept = None
) -> Response:
    """Return the bar with the greatest ts of each."""
    return await respond(request, latest_request(params, accept))


@router.get("/instruments/{instrument_id}/prices", responses=bars(linked=True) | problems(400, 404, 406, 422))
async def list_instrument_prices(
    request: Request,
    instrument_id: InstrumentId,
    params: Annotated[RangeParams, Query()],
    accept: Accept = None,
) -> Response:
    """Return bars of one instrument."""
    return await respond(request, range_request(params, Wanted((), (instrument_id,)), accept))


@router.delete("/instruments/{instrument_id}/prices", responses=problems(404, 422))
async def delete_prices(
    service: Prices,
    instrument_id: InstrumentId,
    interval: IntervalQuery,
    source: Annotated[Source, Query(description="Whose bars.")],
    basis: BasisQuery = None,
    start: StartQuery = None,
    end: EndQuery = None,
) -> DeleteResult:
    """Take a bad import back."""
    require_range(start, end)
    return DeleteResult(deleted=await service.delete(instrument_id, interval, source, basis, start, end))


async def _constants(
    symbol: Annotated[Symbol | None, Query(description="Of all rows, where no column says it.")] = None,
    exchange: Annotated[Exchange | None, Query(description="Of all rows.")] = None,
    instrument_id: Annotated[int | None, Query(ge=1, le=ID_MAX, description="Of all rows.")] = None,
    interval: Annotated[IntervalText | None, Query(description="Of all rows.")] = None,
) -> Constants:
    return Constants(symbol=symbol, exchange=exchange, instrument_id=instrument_id, interval=interval)


@router.post(
    "/prices",
    responses=problems(400, 409, 413, 415, 422),
    openapi_extra=body_of_bars(list(MEDIA_TYPES)),
)
async def create_prices(
    request: Request,
    service: Uploads,
    constants: Annotated[Constants, Depends(_constants)],
    source: Annotated[Source, Query(description="Whose bars these are.")] = "api",
    basis: Annotated[Basis, Query(description="What the prices are.")] = Basis.RAW,
    align: Annotated[
        Alignment, Query(description="Where intraday bars start: on the UTC grid, or counted from the open.")
    ] = Alignment.UTC,
) -> IngestResult:
    """Store bars of known instruments in one transaction; rows that break a rule are rejected one by one."""
    form = FileFormat.from_media_type(request.headers.get("content-type", ""))
    result = await service.store_body(
        request.stream(), form, constants, source=source, basis=basis, alignment=align
    )
    return IngestResult.model_validate(result, from_attributes=True)
