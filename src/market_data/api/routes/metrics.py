"""What Prometheus reads."""

import asyncio

from fastapi import APIRouter, Request, Response

from market_data.api.dependencies import MetricsDep
from market_data.api.documentation import metrics, problems
from market_data.core.metrics import render

router = APIRouter(tags=["health"])


@router.get("/metrics", response_class=Response, responses=metrics() | problems())
async def get_metrics(request: Request, service: MetricsDep) -> Response:
    """Tell figures for Prometheus, as text or OpenMetrics; where the database is gone, those of the API."""
    accept = request.headers.get("accept", "")
    text, media_type = await asyncio.to_thread(render, await service.read(), accept)
    return Response(text, headers={"Content-Type": media_type})
