"""What every format shares."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import cached_property
from typing import ClassVar, cast

import msgspec
import polars as pl
import pyarrow as pa

from market_data.api.encoders.text import rfc3339_array
from market_data.core.bars import COLUMNS
from market_data.repositories.market_price import BarBlock
from market_data.services.price_page import PricePage

_INLINE_ROWS = 2048
"""Fewer rows are encoded faster than handed to a thread."""


class Encoder(ABC):
    """Encodes one answer: `start`, any number of `block`s, `finish`."""

    name: ClassVar[str]
    """The word in `?format=`."""
    media_type: ClassVar[str]
    envelope: ClassVar[bool] = False
    """Whether symbols and token stand in the body; else the rows are all there is."""
    compressible: ClassVar[bool] = True
    """Whether Content-Encoding makes it smaller."""

    def __init__(self, page: PricePage) -> None:
        self.page = page

    @cached_property
    def _labels(self) -> pa.StringArray:
        return pa.array(self.page.labels, pa.string())

    def start(self) -> bytes:
        """Return what precedes the rows."""
        return b""

    @abstractmethod
    def block(self, block: BarBlock) -> bytes:
        """Return some rows; may hold them back."""

    def finish(self) -> Sequence[bytes]:
        """Return what follows the rows, in pieces, once all were read."""
        return ()

    def batch(self, block: BarBlock, ts: pa.Array) -> pa.RecordBatch:
        """Return rows as Arrow columns, with the `ts` given; an absent volume is null."""
        bars = block.bars
        symbols = self._labels.take(pa.array(block.position))
        prices = [pa.array(column) for column in (bars.open, bars.high, bars.low, bars.close)]
        volume = pa.array(bars.volume, from_pandas=True)  # NaN is null
        return pa.record_batch([symbols, ts, *prices, volume], names=COLUMNS)

    def text_frame(self, block: BarBlock) -> pl.DataFrame:
        """Return rows for text formats: ts as RFC 3339 in UTC."""
        frame = pl.from_arrow(self.batch(block, rfc3339_array(block.bars.ts)))
        return cast("pl.DataFrame", frame)

    async def whole(self) -> bytes:
        """Return the whole answer in one piece."""
        async with aclosing(self.page.blocks()) as blocks:
            pieces = [self.start(), *[await self._encoded(block) async for block in blocks]]
        return b"".join((*pieces, *self.finish()))

    async def stream(self) -> AsyncGenerator[bytes]:
        """Yield the whole answer in pieces, holding a block at a time."""
        yield self.start()
        async with aclosing(self.page.blocks()) as blocks:
            async for block in blocks:
                yield await self._encoded(block)
        for piece in self.finish():
            yield piece

    async def _encoded(self, block: BarBlock) -> bytes:
        if len(block.bars) < _INLINE_ROWS:
            return self.block(block)
        return await asyncio.to_thread(self.block, block)  # the server stays responsive meanwhile


def tail(page: PricePage) -> bytes:
    """Return the end of a JSON envelope: what holds for each symbol, and the token."""
    summary = page.summary()
    symbols = msgspec.json.encode(summary.symbols)
    return (
        b'"symbols":' + symbols + b',"next_page_token":' + msgspec.json.encode(summary.next_page_token) + b"}"
    )
