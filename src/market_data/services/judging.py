"""From a file or body to bars ready to be stored: read ahead, name the instruments, normalise."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, cast

import numpy as np

from market_data.core import clock
from market_data.core.bars import Bars
from market_data.core.interval import Alignment, Basis, Interval
from market_data.core.vocabulary import AssetClass
from market_data.db.session import Database
from market_data.etl.readers.chunk import Chunk
from market_data.etl.readers.format import FileFormat, read
from market_data.etl.readers.layout import RowOptions
from market_data.etl.readers.rows import Group, RowTable, join_groups
from market_data.etl.readers.rows import SeriesKey as RowKey
from market_data.etl.transformers.normalise import normalise
from market_data.etl.transformers.rejection import Faults, Rejections
from market_data.etl.transformers.rules import Label, Rules, Unfinished
from market_data.models import Instrument
from market_data.repositories.instrument import InstrumentRepository
from market_data.repositories.market_price_writer import SeriesKey
from market_data.schemas.fields import ID_MAX
from market_data.services.ahead import ahead
from market_data.services.instrument import find_named
from market_data.services.naming import Named


@dataclass(frozen=True, slots=True, kw_only=True)
class Constants:
    """What holds for all rows, where no column says it."""

    symbol: str | None = None
    exchange: str | None = None
    instrument_id: int | None = None
    interval: Interval | None = None

    def given(self) -> dict[str, str]:
        """Return those that are set, as text."""
        return {name: str(value) for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRequest:
    """How to read and store rows."""

    file_format: FileFormat
    options: RowOptions
    source: str
    basis: Basis = Basis.RAW
    alignment: Alignment = Alignment.UTC
    label: Label = Label.START
    name: str = "body"
    """What the run's record calls it."""

    @property
    def is_body(self) -> bool:
        """HTTP bodies state their times exactly (offsets, bar starts); files are read in a time zone."""
        return self.options.timezone is None

    def rules(self, interval: Interval, instrument: Instrument) -> Rules:
        """Return the rules for rows of one series."""
        return Rules(
            interval=interval,
            now=clock.now(),
            timezone=self.options.timezone or "UTC",
            label=self.label,
            alignment=self.alignment,
            any_sign=AssetClass(instrument.asset_class).any_sign,
            snap=not self.is_body,
            unfinished=Unfinished.REJECT if self.is_body else Unfinished.COUNT,
        )

    def parameters(self) -> dict[str, Any]:
        """Return what the run's record shows."""
        shown = asdict(self.options) | {"format": self.file_format, "name": self.name, "basis": self.basis}
        return {key: value for key, value in shown.items() if value}


@dataclass(slots=True)
class Judged:
    """A chunk, ready to be stored."""

    rows: int
    batch: dict[SeriesKey, Bars]
    rejections: list[tuple[str | None, Rejections]]
    unfinished: int = 0


async def judged_chunks(
    database: Database, stream: BinaryIO, request: UploadRequest
) -> AsyncGenerator[Judged]:
    """Yield chunk after chunk from where the stream stands.

    While one is stored, the next is judged and the one behind it is read.

    Raises:
        UnreadableBody: it cannot be read to its end.
        InvalidInput: a column is missing or contradicts a constant.

    """
    chunks = ahead(_chunks(stream, request.file_format))
    ready = ahead(_judged(database, request, chunks))
    async with aclosing(chunks), aclosing(ready):
        async for judged in ready:
            yield judged


async def _chunks(stream: BinaryIO, file_format: FileFormat) -> AsyncGenerator[Chunk]:
    chunks = read(stream, file_format)
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk


async def _judged(
    database: Database, request: UploadRequest, chunks: AsyncGenerator[Chunk]
) -> AsyncGenerator[Judged]:
    async for chunk in chunks:
        yield await _judge(database, request, chunk)


async def _judge(database: Database, request: UploadRequest, chunk: Chunk) -> Judged:
    """Turn a chunk into valid bars by series, and rejections."""
    table, groups = await asyncio.to_thread(_grouped, chunk, request.options)
    async with database.session() as session:
        named = await _instruments(InstrumentRepository(session), groups)
    judged = Judged(len(chunk), {}, [(None, table.rejections)])
    by_series: dict[SeriesKey, list[Group]] = {}
    for group in groups:
        name = named[group.key]
        if name.instrument is None:
            judged.rejections.append((name.asked, _unknown(group, name)))
        else:
            key = SeriesKey(name.instrument.id, group.key.interval, request.source, request.basis)
            by_series.setdefault(key, []).append(group)
    for key, parts in by_series.items():
        instrument = cast("Instrument", named[parts[0].key].instrument)
        rules = request.rules(key.interval, instrument)
        found = await asyncio.to_thread(normalise, join_groups(parts), rules)
        if len(found.bars):
            judged.batch[key] = found.bars
        judged.rejections.append((named[parts[0].key].asked, found.rejections))
        judged.unfinished += found.unfinished
    return judged


def _grouped(chunk: Chunk, options: RowOptions) -> tuple[RowTable, list[Group]]:
    table = RowTable(chunk, options)
    return table, list(table.groups())


async def _instruments(
    instruments: InstrumentRepository, groups: Sequence[Group]
) -> dict[RowKey, Named[Instrument]]:
    """Name the instrument of every group: active ones by symbol, any by id."""
    named: dict[RowKey, Named[Instrument]] = {}
    ids = {i.id: i for i in await instruments.with_ids(_ids(groups))}
    texts = {group.key: _symbol_text(group.key) for group in groups if group.key.instrument_id is None}
    found = await find_named(instruments, sorted(set(texts.values())), retired=False) if texts else []
    by_text = {name.asked: name for name in found}
    for group in groups:
        one = group.key.instrument_id
        named[group.key] = by_text[texts[group.key]] if one is None else Named(str(one), ids.get(one))
    return named


def _ids(groups: Sequence[Group]) -> list[int]:
    wanted = {group.key.instrument_id for group in groups}
    return sorted(one for one in wanted if one is not None and 1 <= one <= ID_MAX)


def _symbol_text(key: RowKey) -> str:
    return f"{key.exchange}:{key.symbol}" if key.exchange else str(key.symbol)


def _unknown(group: Group, name: Named[Instrument]) -> Rejections:
    """Refuse all rows of a group that names no single instrument."""
    if name.ambiguous:
        reason, detail = "ambiguous_instrument", f"{name.asked} may be {', '.join(name.candidates)}"
    else:
        reason, detail = "unknown_instrument", f"no active instrument is known as {name.asked}; add it first"
    faults = Faults(len(group.rows))
    faults.add(np.ones(len(group.rows), np.bool_), reason, lambda _: detail)
    rejections = Rejections()
    rejections.add_all(faults, group.rows.text)
    return rejections
