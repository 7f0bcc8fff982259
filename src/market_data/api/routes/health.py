"""Liveness and readiness."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from market_data import __version__
from market_data.api.dependencies import DatabaseDep
from market_data.api.documentation import problems
from market_data.db.migrations import require_head

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"]
    version: str


_OK = Health(status="ok", version=__version__)


@router.get("/health", responses=problems())
@router.get("/health/live", responses=problems())
async def get_liveness() -> Health:
    """Tell that the process answers; asks nobody else."""
    return _OK


@router.get("/health/ready", responses=problems())
async def get_readiness(database: DatabaseDep) -> Health:
    """Tell that the database answers and has this program's schema; 503 when not."""
    await require_head(database)
    return _OK
