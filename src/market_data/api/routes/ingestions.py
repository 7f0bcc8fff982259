"""Runs: asked for, followed, and the rows they refused."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response, status

from market_data.api.dependencies import (
    LIST_DEFAULT,
    Ingestions,
    ListLimit,
    PageTokenQuery,
    Runs,
    SourceQuery,
)
from market_data.api.documentation import located, problems
from market_data.core.vocabulary import RunStatus
from market_data.repositories.ingestion_run import RunFilter
from market_data.schemas.envelope import Page
from market_data.schemas.fields import ID_MAX
from market_data.schemas.ingestion import IngestionCreate, RejectionRead, RunRead
from market_data.services.ingestion import IngestRequest

router = APIRouter(prefix="/ingestions", tags=["ingestions"])

RunId = Annotated[int, Path(ge=1, le=ID_MAX)]


@router.post("", status_code=status.HTTP_202_ACCEPTED, responses=located(202) | problems(400, 409, 413, 422))
async def create_ingestion(
    request: Request, response: Response, service: Ingestions, body: IngestionCreate
) -> RunRead:
    """Have a worker pull bars from a provider; follow the run at Location."""
    wanted = IngestRequest(
        provider=body.provider,
        symbols=tuple(body.symbols),
        interval=body.interval,
        start=body.start,
        end=body.end,
        exchange=body.exchange,
    )
    run = await service.submit(wanted)
    response.headers["Location"] = f"{request.url.path}/{run.id}"
    return RunRead.model_validate(run)


@router.get("", responses=problems(400, 422))
async def list_ingestions(
    service: Runs,
    status: RunStatus | None = None,
    source: SourceQuery = None,
    subscription_id: Annotated[
        int | None, Query(ge=1, le=ID_MAX, description="Only runs for this subscription.")
    ] = None,
    limit: ListLimit = LIST_DEFAULT,
    page_token: PageTokenQuery = None,
) -> Page[RunRead]:
    """List runs, newest first."""
    wanted = RunFilter(status=status, source=source, subscription_id=subscription_id)
    found, token = await service.list_(wanted, limit=limit, page_token=page_token)
    return Page(data=[RunRead.model_validate(one) for one in found], next_page_token=token)


@router.get("/{run_id}", responses=problems(404, 422))
async def get_ingestion(service: Runs, run_id: RunId) -> RunRead:
    """Return one run."""
    return RunRead.model_validate(await service.get(run_id))


@router.get("/{run_id}/rejections", responses=problems(400, 404, 422))
async def list_rejections(
    service: Runs, run_id: RunId, limit: ListLimit = LIST_DEFAULT, page_token: PageTokenQuery = None
) -> Page[RejectionRead]:
    """List the rows a run refused: the first 10,000 are kept, all are counted."""
    found, token = await service.list_rejections(run_id, limit=limit, page_token=page_token)
    return Page(data=[RejectionRead.model_validate(one) for one in found], next_page_token=token)
