"""Parquet, batch by batch; columns whose type no row can use are not even decoded."""

from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

import pyarrow as pa
from pyarrow import parquet

from market_data.etl.readers.chunk import Chunk
from market_data.etl.readers.columnar import chunks, empty, refusing, seekable, usable


def read(stream: BinaryIO, chunk_rows: int) -> Iterator[Chunk]:
    """Read a Parquet file.

    Raises:
        UnreadableBody: broken, truncated or encrypted.

    """
    with refusing("Parquet file"), seekable(stream) as source, parquet.ParquetFile(source) as file:
        schema: pa.Schema = file.schema_arrow
        unusable = {field.name: str(field.type) for field in schema if not usable(field.type)}
        wanted = [field.name for field in schema if field.name not in unusable]
        batches = file.iter_batches(batch_size=chunk_rows, columns=wanted)
        for batch in chain([empty(schema)], batches):
            for chunk in chunks(batch, chunk_rows):
                yield Chunk(chunk.table, chunk.broken, unusable)
