"""The catalogue."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response, status

from market_data.api.dependencies import LIST_DEFAULT, Instruments, ListLimit, PageTokenQuery
from market_data.api.documentation import located, problems
from market_data.core.vocabulary import AssetClass
from market_data.repositories.instrument import InstrumentFilter
from market_data.schemas.envelope import Page
from market_data.schemas.fields import ID_MAX, Currency, Exchange, Text
from market_data.schemas.instrument import InstrumentCreate, InstrumentRead, InstrumentUpdate

router = APIRouter(prefix="/instruments", tags=["instruments"])

InstrumentId = Annotated[int, Path(ge=1, le=ID_MAX)]


@router.get("", responses=problems(400, 422))
async def list_instruments(
    service: Instruments,
    q: Annotated[Text | None, Query(description="Sought in symbol and name, in any case.")] = None,
    asset_class: AssetClass | None = None,
    exchange: Annotated[Exchange | None, Query()] = None,
    currency: Annotated[Currency | None, Query()] = None,
    active: Annotated[bool | None, Query(description="Whether its symbol is in use.")] = None,
    limit: ListLimit = LIST_DEFAULT,
    page_token: PageTokenQuery = None,
) -> Page[InstrumentRead]:
    """List instruments in order of symbol."""
    wanted = InstrumentFilter(
        text=q, asset_class=asset_class, exchange=exchange, currency=currency, active=active
    )
    found, token = await service.list_(wanted, limit=limit, page_token=page_token)
    return Page(data=[InstrumentRead.model_validate(one) for one in found], next_page_token=token)


@router.post("", status_code=status.HTTP_201_CREATED, responses=located(201) | problems(400, 409, 413, 422))
async def create_instrument(
    request: Request, response: Response, service: Instruments, body: InstrumentCreate
) -> InstrumentRead:
    """Add an instrument."""
    created = await service.create(body.model_dump())
    response.headers["Location"] = f"{request.url.path}/{created.id}"
    return InstrumentRead.model_validate(created)


@router.get("/{instrument_id}", responses=problems(404, 422))
async def get_instrument(service: Instruments, instrument_id: InstrumentId) -> InstrumentRead:
    """Return one instrument."""
    return InstrumentRead.model_validate(await service.get(instrument_id))


@router.patch("/{instrument_id}", responses=problems(400, 404, 409, 413, 422))
async def update_instrument(
    service: Instruments, instrument_id: InstrumentId, body: InstrumentUpdate
) -> InstrumentRead:
    """Change what is named: a merge patch. What bars were stored under is fixed while there are bars."""
    changes = body.model_dump(exclude_unset=True)
    return InstrumentRead.model_validate(await service.update(instrument_id, changes))


@router.delete("/{instrument_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404, 409, 422))
async def delete_instrument(
    service: Instruments,
    instrument_id: InstrumentId,
    cascade: Annotated[
        bool, Query(description="Delete its series and bars too; runs stay.")
    ] = False,  # a query parameter has a name
) -> None:
    """Remove an instrument."""
    await service.delete(instrument_id, cascade=cascade)
