"""What every reader yields: a block of rows as they came, and the lines that are no rows."""

from dataclasses import dataclass, field

import polars as pl

from market_data.etl.transformers.rejection import Rejections

CHUNK_ROWS = 100_000
"""Rows a chunk holds unless the caller says otherwise."""


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Part of a file.

    Column types are what the format knows: all strings from CSV, numbers and strings from JSON, and from Arrow
    and Parquet numbers, decimals, strings, dates, and timestamps as Datetime[us] (naive, or UTC).
    """

    table: pl.DataFrame
    broken: Rejections = field(default_factory=Rejections)
    """Lines that do not have the shape of a row."""
    unusable: dict[str, str] = field(default_factory=dict)
    """Columns left out because no cell of their type can be read: name and type."""

    def __len__(self) -> int:
        """Rows and broken lines."""
        return self.table.height + self.broken.total
