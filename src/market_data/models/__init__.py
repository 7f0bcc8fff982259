"""Entities: the tables of the one source of truth."""

from market_data.models.ingestion_run import IngestionRun, Rejection
from market_data.models.instrument import Instrument, ProviderSymbol
from market_data.models.market_price import (
    BAR_TABLES,
    MarketPriceDaily,
    MarketPriceIntraday,
    bar_table,
)
from market_data.models.price_block import PriceBlock
from market_data.models.series import Series

__all__ = [
    "BAR_TABLES",
    "IngestionRun",
    "Instrument",
    "MarketPriceDaily",
    "MarketPriceIntraday",
    "PriceBlock",
    "ProviderSymbol",
    "Rejection",
    "Series",
    "bar_table",
]
