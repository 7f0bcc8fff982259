"""Parquet, batch by batch; columns whose type no row can use are not even decoded."""

from collections.abc import Iterator
from typing import BinaryIO

from pyarrow import parquet

from market_data.etl.readers.chunk import Chunk
from market_data.etl.readers.columnar import chunks, empty, refusing, seekable


def read(stream: BinaryIO, chunk_rows: int) -> Iterator[Chunk]:
    """Read a Parquet file.

    Raises:
        UnreadableBody: broken, truncated or encrypted.

    """
    with refusing("Parquet file"), seekable(stream) as source, parquet.ParquetFile(source) as file:
        yield (like := empty(file.schema_arrow))
        for batch in file.iter_batches(batch_size=chunk_rows, columns=like.table.columns):
            yield from chunks(batch, like, chunk_rows)
