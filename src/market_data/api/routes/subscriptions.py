"""What is kept up to date."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response, status

from market_data.api.dependencies import (
    LIST_DEFAULT,
    ListLimit,
    PageTokenQuery,
    Subscriptions,
)
from market_data.api.documentation import located, problems
from market_data.repositories.subscription import SubscriptionFilter
from market_data.schemas.envelope import Page
from market_data.schemas.fields import ID_MAX, IntervalText, Name, Source
from market_data.schemas.job import JobRead
from market_data.schemas.subscription import SubscriptionCreate, SubscriptionRead, SubscriptionUpdate
from market_data.services.subscription import Subscribed, SubscriptionRequest

router = APIRouter(prefix="/subscriptions", tags=["subscriptions"])

SubscriptionId = Annotated[int, Path(ge=1, le=ID_MAX)]


def _page(found: list[Subscribed], token: str | None) -> Page[SubscriptionRead]:
    return Page(data=[SubscriptionRead.model_validate(one.fields) for one in found], next_page_token=token)


@router.post("", status_code=status.HTTP_201_CREATED, responses=problems(400, 404, 409, 413, 422))
async def create_subscriptions(service: Subscriptions, body: SubscriptionCreate) -> Page[SubscriptionRead]:
    """Keep symbols of a provider up to date, since a date; those that are kept already are changed."""
    found = await service.subscribe(SubscriptionRequest(**dict(body)))
    return _page(found, None)


@router.get("", responses=problems(400, 422))
async def list_subscriptions(
    service: Subscriptions,
    watchlist: Annotated[Name | None, Query()] = None,
    provider: Annotated[Source | None, Query()] = None,
    interval: Annotated[IntervalText | None, Query()] = None,
    active: Annotated[bool | None, Query(description="Whether they are followed.")] = None,
    failing: Annotated[bool | None, Query(description="Whether the last attempt failed.")] = None,
    limit: ListLimit = LIST_DEFAULT,
    page_token: PageTokenQuery = None,
) -> Page[SubscriptionRead]:
    """List subscriptions, oldest first."""
    wanted = SubscriptionFilter(
        watchlist=watchlist, provider=provider, interval=interval, active=active, failing=failing
    )
    return _page(*await service.list_(wanted, limit=limit, page_token=page_token))


@router.get("/{subscription_id}", responses=problems(404, 422))
async def get_subscription(service: Subscriptions, subscription_id: SubscriptionId) -> SubscriptionRead:
    """Return one subscription."""
    return SubscriptionRead.model_validate((await service.get(subscription_id)).fields)


@router.patch("/{subscription_id}", responses=problems(400, 404, 413, 422))
async def update_subscription(
    service: Subscriptions, subscription_id: SubscriptionId, body: SubscriptionUpdate
) -> SubscriptionRead:
    """Change what is named: a merge patch. It is looked after anew."""
    changes = body.model_dump(exclude_unset=True)
    return SubscriptionRead.model_validate((await service.update(subscription_id, changes)).fields)


@router.delete("/{subscription_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404, 422))
async def delete_subscription(service: Subscriptions, subscription_id: SubscriptionId) -> None:
    """Forget a subscription; its bars stay."""
    await service.delete(subscription_id)


@router.post(
    "/{subscription_id}/sync",
    status_code=status.HTTP_202_ACCEPTED,
    responses=located(202) | problems(404, 422),
)
async def sync_subscription(
    request: Request, response: Response, service: Subscriptions, subscription_id: SubscriptionId
) -> JobRead:
    """Look after a subscription at once; follow the job at Location."""
    job = await service.sync(subscription_id)
    response.headers["Location"] = f"{request.app.state.settings.api_prefix}/jobs/{job.job.id}"
    return JobRead.model_validate(job.fields)
