"""What every reader yields: a block of rows as they came, and the lines that are no rows."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import polars as pl

from market_data.etl.transformers.rejection import Rejections

CHUNK_ROWS = 65_536
"""Rows a chunk holds unless the caller says otherwise: a usual Arrow batch. A row of text takes 300 bytes
in each of the three chunks under way."""
_FIRST_PART = 8
"""The first chunk has this part of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Part of a file.

    Column types are what the format knows: all strings from CSV, doubles and strings from JSON, and from
    Arrow and Parquet numbers, decimals, strings, dates, and timestamps as Datetime[us] (naive, or UTC).
    """

    table: pl.DataFrame
    broken: Rejections = field(default_factory=Rejections)
    """Lines that do not have the shape of a row."""
    unusable: dict[str, str] = field(default_factory=dict)
    """Columns left out because no cell of their type can be read: name and type."""

    def __len__(self) -> int:
        """Rows and broken lines."""
        return self.table.height + self.broken.total


def merged(chunks: Iterable[Chunk], chunk_rows: int) -> Iterator[Chunk]:
    """Join neighbours of the same columns up to `chunk_rows`: many small batches would cost each consumer.

    The first are smaller, so that the consumer soon has something to do.
    """
    waiting: list[Chunk] = []
    height, limit = 0, chunk_rows // _FIRST_PART
    for chunk in chunks:
        fits = not height or height + chunk.table.height <= limit
        if waiting and not (fits and chunk.table.schema == waiting[0].table.schema):
            yield _join(waiting)
            waiting, height, limit = [], 0, min(limit * 2, chunk_rows)
        waiting.append(chunk)
        height += chunk.table.height
    if waiting:
        yield _join(waiting)


def _join(chunks: list[Chunk]) -> Chunk:
    if len(chunks) == 1:
        return chunks[0]
    broken = Rejections()
    for chunk in chunks:
        broken.extend(chunk.broken)
    return Chunk(pl.concat([chunk.table for chunk in chunks]), broken, chunks[0].unusable)
