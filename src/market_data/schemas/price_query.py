"""What a query for bars may say, as its parameters."""

from typing import Annotated

from pydantic import BaseModel, Field

from market_data.core.interval import Basis
from market_data.core.vocabulary import SortOrder
from market_data.schemas.fields import SYMBOLS, Instant, IntervalText, Source

Symbols = Annotated[
    str | None,
    Field(
        pattern=SYMBOLS,
        max_length=50_000,  # servers read addresses of up to 64 KiB
        description="Comma-separated `symbol` or `exchange:symbol`, at most 1000.",
    ),
]
Ids = Annotated[
    str | None,
    Field(
        pattern=r"^\s*[0-9]{1,10}(\s*,\s*[0-9]{1,10})*\s*$",
        max_length=12_000,
        description="Comma-separated instrument ids instead of symbols, at most 1000.",
    ),
]
PageToken = Annotated[
    str | None,
    Field(
        max_length=12_000,
        description="From the answer before; bound to the query.",
        json_schema_extra={"pattern": "^[A-Za-z0-9_-]+$"},  # what breaks it is no other token either: 400
    ),
]


class _Series(BaseModel):
    """Which series answers, and how."""

    interval: IntervalText
    source: Source | None = Field(None, description="Only this source; else SOURCE_PREFERENCE decides.")
    basis: Basis | None = Field(None, description="Only this basis.")
    format: str | None = Field(
        None,
        description="One of json, columns, ndjson, csv, arrow, parquet; wins over Accept.",
        json_schema_extra={"enum": ["json", "columns", "ndjson", "csv", "arrow", "parquet"]},
    )


class _Named(BaseModel):
    """Whose bars: by symbol or by id, one of the two."""

    symbols: Symbols = None
    instrument_ids: Ids = None


class RangeParams(_Series):
    """Bars of a range, page by page."""

    start: Instant | None = Field(None, description="First bar start, inclusive.")
    end: Instant | None = Field(None, description="End of the range, exclusive.")
    limit: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Rows at most: 1000 by default in json (maximum 1,000,000) and columns (100,000); "
        "the row formats stream the whole range without it and take at most 100,000.",
    )
    sort: SortOrder = Field(SortOrder.ASC, description="Direction of ts; the symbols stay as asked.")
    page_token: PageToken = None


class PriceParams(RangeParams, _Named):
    """`GET /prices`."""


class LatestParams(_Series, _Named):
    """`GET /prices/latest`."""
