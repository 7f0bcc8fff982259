"""Bars out, bars in, bars taken back."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from market_data.api.dependencies import (
    BasisQuery,
    EndQuery,
    IntervalQuery,
    PageToken,
    Prices,
    SortQuery,
    SourceQuery,
    StartQuery,
    Uploads,
    WantedQuery,
)
from market_data.api.documentation import bars, body_of_bars, problems
from market_data.api.encoders import Encoder
from market_data.api.negotiation import Format
from market_data.api.routes.instruments import InstrumentId
from market_data.api.streaming import respond
from market_data.core.exceptions import InvalidInput
from market_data.core.interval import Alignment, Basis, require_range
from market_data.core.vocabulary import SortOrder
from market_data.etl.readers.format import MEDIA_TYPES, FileFormat
from market_data.schemas.fields import ID_MAX, Exchange, IntervalText, Source, Symbol
from market_data.schemas.ingestion import DeleteResult, IngestResult
from market_data.services.judging import Constants
from market_data.services.market_price import PriceQuery

router = APIRouter(tags=["prices"])

ENVELOPE_DEFAULT = 1000
MAXIMUM = {"json": 1_000_000}
MAXIMUM_OTHERS = 100_000

LimitQuery = Annotated[
    int | None,
    Query(
        ge=1,
        le=1_000_000,
        description="Rows at most: 1000 by default in json (maximum 1,000,000) and columns "
        "(100,000); the row formats stream the whole range without it and take at most 100,000.",
    ),
]


@dataclass(frozen=True, slots=True)
class Span:
    """Which bars of which time, how many, and in which format."""

    encoder: type[Encoder]
    fields: dict[str, Any]


async def _span(
    encoder: Format,
    interval: IntervalQuery,
    start: StartQuery = None,
    end: EndQuery = None,
    source: SourceQuery = None,
    basis: BasisQuery = None,
    limit: LimitQuery = None,
    sort: SortQuery = SortOrder.ASC,
    page_token: PageToken = None,
) -> Span:
    require_range(start, end)
    fields = {
        "interval": interval,
        "start": start,
        "end": end,
        "source": source,
        "basis": basis,
        "limit": _limit(encoder, limit),
        "sort": sort,
        "page_token": page_token,
        "all_known": not encoder.envelope,
    }
    return Span(encoder, fields)


SpanQuery = Annotated[Span, Depends(_span)]


def _limit(encoder: type[Encoder], limit: int | None) -> int | None:
    if limit is None:
        return ENVELOPE_DEFAULT if encoder.envelope else None
    maximum = MAXIMUM.get(encoder.name, MAXIMUM_OTHERS)
    if limit > maximum:
        raise InvalidInput("limit", f"at most {maximum} in {encoder.name}, not {limit}")
    return limit


@router.get("/prices", responses=bars(linked=True) | problems(400, 404, 406, 409, 422))
async def list_prices(request: Request, service: Prices, wanted: WantedQuery, span: SpanQuery) -> Response:
    """Return bars: symbols as asked, within each by ts."""
    page = await service.page(PriceQuery(symbols=wanted.symbols, ids=wanted.ids, **span.fields))
    return await respond(request, span.encoder(page))


@router.get("/prices/latest", responses=bars(linked=False) | problems(404, 406, 409, 422))
async def list_latest_prices(
    request: Request,
    service: Prices,
    wanted: WantedQuery,
    encoder: Format,
    interval: IntervalQuery,
    source: SourceQuery = None,
    basis: BasisQuery = None,
) -> Response:
    """Return the bar with the greatest ts of each."""
    query = PriceQuery(
        symbols=wanted.symbols,
        ids=wanted.ids,
        interval=interval,
        source=source,
        basis=basis,
        all_known=not encoder.envelope,
    )
    return await respond(request, encoder(await service.latest(query)))


@router.get("/instruments/{instrument_id}/prices", responses=bars(linked=True) | problems(400, 404, 406, 422))
async def list_instrument_prices(
    request: Request, service: Prices, instrument_id: InstrumentId, span: SpanQuery
) -> Response:
    """Return bars of one instrument."""
    page = await service.page(PriceQuery(ids=(instrument_id,), **span.fields))
    return await respond(request, span.encoder(page))


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
