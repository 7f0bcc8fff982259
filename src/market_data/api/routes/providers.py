"""Providers and what they offer."""

from fastapi import APIRouter

from market_data.api.documentation import problems
from market_data.schemas.envelope import Page
from market_data.schemas.ingestion import ProviderRead
from market_data.services.provider import describe_providers

router = APIRouter(prefix="/providers", tags=["ingestions"])


@router.get("", responses=problems())
async def list_providers() -> Page[ProviderRead]:
    """List the providers and whether their keys are set."""
    data = [ProviderRead.model_validate(one, from_attributes=True) for one in describe_providers()]
    return Page(data=data, next_page_token=None)
