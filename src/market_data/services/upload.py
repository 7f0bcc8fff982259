"""Bars from HTTP bodies, in one transaction each, and from files, chunk by chunk."""

import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import BinaryIO, cast

import structlog

from market_data.core.exceptions import ConcurrentChange
from market_data.core.interval import Alignment, Basis
from market_data.core.vocabulary import RunStatus
from market_data.db.liveness import Liveness
from market_data.db.session import Database
from market_data.etl.readers.format import FileFormat
from market_data.etl.readers.layout import RowOptions
from market_data.etl.transformers.rejection import Rejection
from market_data.models import IngestionRun
from market_data.services.judging import Constants, Judged, UploadRequest, judged_chunks
from market_data.services.recorder import RunRecorder

ATTEMPTS = 5
"""Times a body is tried when other writers are in its way."""
SHOWN = 100
"""Rejections an answer carries."""
_IN_MEMORY = 8 * 1024**2
"""Bytes of a body held in memory before it goes to a temporary file."""

_log = structlog.get_logger(__name__)


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
                spooled.write(piece)
            stream = cast("BinaryIO", spooled)
            recorder = await self._begin(request)
            shown: list[ShownRejection] = []
            async with recorder.recorded():
                await self._commit(recorder, lambda: self._rewound(stream, request), shown)
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
        reading = aclosing(judged_chunks(self._database, stream, request))
        async with recorder.recorded(), reading as chunks:
            async for judged in chunks:
                await self._commit(recorder, partial(_single, judged), [])
                rows += judged.rows
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
        chunks: Callable[[], AsyncGenerator[Judged]],
        shown: list[ShownRejection],
    ) -> None:
        """Store chunks in one transaction; start again when another writer was in the way."""
        left = ATTEMPTS
        while True:
            left -= 1
            shown.clear()
            try:
                async with recorder.transaction(), aclosing(chunks()) as ready:
                    async for judged in ready:
                        await recorder.store(judged.batch, judged.rejections, judged.unfinished)
                        _show(shown, judged)
            except ConcurrentChange:
                if not left:
                    raise
                _log.info("repeated: another writer was in the way", attempts_left=left)
            else:
                return

    def _rewound(self, stream: BinaryIO, request: UploadRequest) -> AsyncGenerator[Judged]:
        stream.seek(0)
        return judged_chunks(self._database, stream, request)


async def _single(judged: Judged) -> AsyncGenerator[Judged]:
    yield judged


def _show(shown: list[ShownRejection], judged: Judged) -> None:
    for symbol, refused in judged.rejections:
        kept = refused.kept[: SHOWN - len(shown)]
        shown.extend(ShownRejection(**asdict(one), symbol=symbol) for one in kept)
