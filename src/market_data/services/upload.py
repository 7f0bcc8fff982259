"""Bars from HTTP bodies and files: read in chunks, name the instruments, normalise, store, record."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, BinaryIO, cast

import numpy as np
import structlog

from market_data.core import clock
from market_data.core.bars import Bars
from market_data.core.exceptions import ConcurrentChange, MarketDataError
from market_data.core.interval import Alignment, Basis, Interval
from market_data.core.vocabulary import AssetClass, RunStatus
from market_data.db.liveness import Liveness
from market_data.db.session import Database, Session
from market_data.etl.readers.chunk import Chunk
from market_data.etl.readers.format import FileFormat, read
from market_data.etl.readers.layout import RowOptions
from market_data.etl.readers.rows import Group, RowTable, join_groups
from market_data.etl.readers.rows import SeriesKey as RowKey
from market_data.etl.transformers.normalise import normalise
from market_data.etl.transformers.rejection import Faults, Rejection, Rejections
from market_data.etl.transformers.rules import Label, Rules, Unfinished
from market_data.models import IngestionRun, Instrument
from market_data.repositories.instrument import InstrumentRepository
from market_data.repositories.market_price_writer import SeriesKey
from market_data.schemas.fields import ID_MAX
from market_data.services.instrument import find_named
from market_data.services.naming import Named
from market_data.services.run import RunRecorder

ATTEMPTS = 5
"""Times a body is tried when other writers are in its way."""
SHOWN = 100
"""Rejections an answer carries."""
_IN_MEMORY = 8 * 1024**2
"""Bytes of a body held in memory before it goes to a temporary file."""

_log = structlog.get_logger(__name__)


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


@dataclass(slots=True, kw_only=True)
class UploadResult:
    """What became of a body."""

    run_id: int
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    rejections: list["ShownRejection"] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRejection(Rejection):
    """A refused row with the symbol it named."""

    symbol: str | None = None


@dataclass(slots=True)
class _Judged:
    """A chunk, ready to be stored."""

    batch: dict[SeriesKey, Bars]
    rejections: list[tuple[str | None, Rejections]]
    unfinished: int


OnRows = Callable[[int], None]


class UploadService:
    """Stores bodies in one transaction each, and files chunk by chunk."""

    def __init__(self, database: Database, liveness: Liveness) -> None:
        self._database = database
        self._liveness = liveness

    async def store_body(
        self,
        pieces: AsyncIterator[bytes],
        file_format: FileFormat,
        constants: Constants,
        *,
        source: str,
        basis: Basis,
        alignment: Alignment,
    ) -> UploadResult:
        """Store an HTTP body: all its valid rows, or none when it cannot be read to its end.

        Raises:
            UnreadableBody: it cannot be read to its end.
            InvalidInput: a column is missing or contradicts a constant.
            ConcurrentChange: other writers stayed in the way.

        """
        options = RowOptions(constants=constants.given())
        request = UploadRequest(
            file_format=file_format, options=options, source=source, basis=basis, alignment=alignment
        )
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spooled:
            async for piece in pieces:
                await asyncio.to_thread(spooled.write, piece)
            stream = cast("BinaryIO", spooled)
            recorder = await self._begin(request)
            shown: list[ShownRejection] = []
            async with _recorded(recorder):
                await self._commit(recorder, request, lambda: _rewound(stream, request), shown)
        counts = recorder.counts
        await recorder.finish(RunStatus.PARTIAL if counts["rejected"] else RunStatus.SUCCEEDED)
        named = {name: counts[name] for name in ("inserted", "updated", "unchanged", "rejected")}
        return UploadResult(run_id=recorder.run_id, rejections=shown, **named)

    async def store_file(
        self, stream: BinaryIO, request: UploadRequest, on_rows: OnRows | None = None
    ) -> IngestionRun:
        """Store a file, committing chunk by chunk: safe to repeat, whatever happens in the middle.

        Raises:
            UnreadableBody: it cannot be read to its end; the chunks before that are stored.
            InvalidInput: a column is missing, or mapped to nothing.

        """
        recorder = await self._begin(request)
        rows = 0
        async with _recorded(recorder):
            async for chunk in _chunks(stream, request):
                await self._commit(recorder, request, partial(_single, chunk), [])
                rows += len(chunk)
                if on_rows is not None:
                    on_rows(rows)
        status = RunStatus.PARTIAL if recorder.counts["rejected"] else RunStatus.SUCCEEDED
        return await recorder.finish(status)

    async def _begin(self, request: UploadRequest) -> RunRecorder:
        recorder = await RunRecorder.create(
            self._database, self._liveness, request.source, request.parameters(), RunStatus.RUNNING
        )
        await recorder.start()
        return recorder

    async def _commit(
        self,
        recorder: RunRecorder,
        request: UploadRequest,
        chunks: Callable[[], AsyncIterator[Chunk]],
        shown: list[ShownRejection],
    ) -> None:
        """Store chunks in one transaction; start again when another writer was in the way."""
        for left in reversed(range(ATTEMPTS)):
            shown.clear()
            try:
                async with recorder.transaction() as session:
                    async for chunk in chunks():
                        judged = await _judge(session, request, chunk)
                        await recorder.store(session, judged.batch, judged.rejections, judged.unfinished)
                        _show(shown, judged)
            except ConcurrentChange:
                if not left:
                    raise
                _log.info("repeated: another writer was in the way", attempts_left=left)
            else:
                return


@asynccontextmanager
async def _recorded(recorder: RunRecorder) -> AsyncIterator[None]:
    """Record how work ends that does not reach its end."""
    try:
        yield
    except asyncio.CancelledError:
        await asyncio.shield(recorder.finish(RunStatus.CANCELLED, "stopped; repeating is safe"))
        raise
    except Exception as error:
        known = isinstance(error, MarketDataError)
        await recorder.finish(RunStatus.FAILED, str(error) if known else type(error).__name__)
        raise


async def _chunks(stream: BinaryIO, request: UploadRequest) -> AsyncIterator[Chunk]:
    """Read from the start, off the event loop."""
    chunks = read(stream, request.file_format)
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk


async def _rewound(stream: BinaryIO, request: UploadRequest) -> AsyncIterator[Chunk]:
    stream.seek(0)
    async for chunk in _chunks(stream, request):
        yield chunk


async def _single(chunk: Chunk) -> AsyncIterator[Chunk]:
    yield chunk


async def _judge(session: Session, request: UploadRequest, chunk: Chunk) -> _Judged:
    """Turn a chunk into valid bars by series, and rejections."""
    table, groups = await asyncio.to_thread(_grouped, chunk, request.options)
    named = await _instruments(InstrumentRepository(session), groups)
    judged = _Judged({}, [(None, table.rejections)], 0)
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


def _show(shown: list[ShownRejection], judged: _Judged) -> None:
    for symbol, refused in judged.rejections:
        kept = refused.kept[: SHOWN - len(shown)]
        shown.extend(ShownRejection(**asdict(one), symbol=symbol) for one in kept)
