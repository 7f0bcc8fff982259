"""Arrow batches, whoever encoded them, as tables of the few types that rows understand."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import BinaryIO, cast

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from market_data.core.exceptions import UnreadableBody
from market_data.etl.readers.chunk import Chunk

_BROKEN = (
    pa.ArrowException,
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
    struct.error,
    OSError,
    ValueError,
    KeyError,
    MemoryError,
)
_COPY_BYTES = 1024 * 1024
_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_FIRST_SECOND = -62_135_596_800
_LAST_SECOND = 253_402_300_799
"""Years 1 to 9999: a file may hold any integer as a time, and none of the others can be written down."""
_DAY = 86_400


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turn what Arrow raises on broken bytes into one readable error.

    Raises:
        UnreadableBody: Arrow refused the bytes.

    """
    try:
        yield
    except _BROKEN as error:
        first = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise UnreadableBody(f"the {what} cannot be read: {first}") from error


@contextmanager
def seekable(stream: BinaryIO) -> Iterator[BinaryIO]:
    """Give a stream that can seek: itself, or a copy of it on disk (standard input cannot)."""
    if stream.seekable():
        yield stream
        return
    with TemporaryFile() as copy:
        while piece := stream.read(_COPY_BYTES):
            copy.write(piece)
        copy.seek(0)
        yield cast("BinaryIO", copy)


def empty(schema: pa.Schema) -> Chunk:
    """Make a chunk without rows, so that a file without rows tells its columns too.

    Raises:
        UnreadableBody: repeated column names.

    """
    names = schema.names
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UnreadableBody(f"the schema repeats {', '.join(map(repr, repeated))}")
    unusable = {field.name: str(field.type) for field in schema if not usable(field.type)}
    # Types that are not usable are never touched: Arrow 26 crashes on an array of a union without members.
    columns = [series(field.name, pa.nulls(0, field.type)) for field in schema if usable(field.type)]
    return Chunk(pl.DataFrame(columns), unusable=unusable)


def chunks(batch: pa.RecordBatch, like: Chunk, chunk_rows: int) -> Iterator[Chunk]:
    """Convert a batch of the schema of which `like` is the empty chunk.

    Every buffer is checked first: broken offsets would be read out of bounds.

    Raises:
        pa.ArrowInvalid: the buffers contradict each other.

    """
    columns = []
    for name in like.table.columns:
        array = batch.column(name)
        array.validate(full=True)
        columns.append(series(name, array))
    for part in pl.DataFrame(columns).iter_slices(chunk_rows):
        yield Chunk(part, unusable=like.unusable)


def usable(kind: pa.DataType) -> bool:
    """Whether cells of this type can be a name, a number or a time."""
    if pa.types.is_dictionary(kind):
        return usable(kind.value_type) and not pa.types.is_dictionary(kind.value_type)
    if pa.types.is_decimal(kind):
        return bool(0 <= kind.scale <= kind.precision)
    checks = (
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_string_view,
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_timestamp,
        pa.types.is_date,
        pa.types.is_time,
        pa.types.is_boolean,
        pa.types.is_null,
    )
    return any(check(kind) for check in checks)


def series(name: str, array: pa.Array) -> pl.Series:
    """Convert an array of a usable type, without copying dictionary texts or wrapping times around."""
    if pa.types.is_dictionary(array.type):
        return series(name, array.dictionary).gather(series(name, array.indices))
    if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
        array = _bounded_time(array)
    elif pa.types.is_decimal256(array.type):
        array = array.cast(pa.string())  # Polars has none of this width
    return pl.Series(name, pl.from_arrow(array))


def _bounded_time(array: pa.Array) -> pa.Array:
    kind = array.type
    if pa.types.is_timestamp(kind):
        per_second = _SECOND[kind.unit]
        bounded = _between(array.cast(pa.int64()), _FIRST_SECOND * per_second, _LAST_SECOND * per_second)
        target = pa.timestamp("us", tz="UTC" if kind.tz else None)
        return bounded.cast(pa.timestamp(kind.unit)).cast(pa.timestamp("us"), safe=False).cast(target)
    if pa.types.is_date64(kind):
        bounded = _between(array.cast(pa.int64()), _FIRST_SECOND * 1_000, _LAST_SECOND * 1_000)
        return pc.floor(pc.divide(bounded, 1_000 * _DAY)).cast(pa.int32()).cast(pa.date32())
    days = array.cast(pa.int32()).cast(pa.int64())
    return _between(days, _FIRST_SECOND // _DAY, _LAST_SECOND // _DAY).cast(pa.int32()).cast(pa.date32())


def _between(array: pa.Array, low: int, high: int) -> pa.Array:
    """Clip 64-bit integers, nulls kept, to bounds that may be wider than the type."""
    low, high = max(low, -(2**63)), min(high, 2**63 - 1)
    floor, ceiling = pa.scalar(low, array.type), pa.scalar(high, array.type)
    return pc.min_element_wise(pc.max_element_wise(array, floor, skip_nulls=False), ceiling, skip_nulls=False)
