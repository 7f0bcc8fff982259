"""Entities: the tables of the one source of truth."""

from market_data.models.coverage import CalendarOverride, Coverage
from market_data.models.ingestion_run import IngestionRun, Rejection
from market_data.models.instrument import Instrument, ProviderSymbol
from market_data.models.market_price import (
    BAR_TABLES,
    MarketPriceDaily,
    MarketPriceIntraday,
    bar_table,
)
from market_data.models.price_block import PriceBlock
from market_data.models.provider_budget import ProviderBudget, ProviderQuota
from market_data.models.series import Series
from market_data.models.subscription import Schedule, Subscription

__all__ = [
    "BAR_TABLES",
    "CalendarOverride",
    "Coverage",
    "IngestionRun",
    "Instrument",
    "MarketPriceDaily",
    "MarketPriceIntraday",
    "PriceBlock",
    "ProviderBudget",
    "ProviderQuota",
    "ProviderSymbol",
    "Rejection",
    "Schedule",
    "Series",
    "Subscription",
    "bar_table",
]
