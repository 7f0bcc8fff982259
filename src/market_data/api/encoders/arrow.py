"""Arrow IPC stream, rows only; what holds for each symbol is in the schema's metadata.

Format: https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format
"""

import io
from collections.abc import Sequence

import msgspec
import pyarrow as pa

from market_data.api.encoders.base import Encoder
from market_data.core.bars import COLUMNS
from market_data.repositories.market_price import BarBlock

_TYPES = (pa.string(), pa.timestamp("us", "UTC"), *(pa.float64(),) * 5)


class Sink(io.RawIOBase):
    """A file that hands out what was written since it was last asked."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def writable(self) -> bool:
        """Tell that it can be written to."""
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override] # any buffer, as pyarrow gives it
        """Keep a piece."""
        piece = bytes(data)
        self._written.append(piece)
        return len(piece)

    def drain(self) -> bytes:
        """Return the pieces written since the last call."""
        written, self._written = b"".join(self._written), []
        return written


class ArrowEncoder(Encoder):
    """Bars as record batches."""

    name = "arrow"
    media_type = "application/vnd.apache.arrow.stream"

    def schema(self) -> pa.Schema:
        """Return the seven columns, with `symbols` as JSON in the metadata."""
        symbols = {
            label: {
                key: value
                for key, value in msgspec.to_builtins(self.page.describe(position)).items()
                if key not in {"status", "count"}  # not known before the rows
            }
            for position, label in enumerate(self.page.labels)
        }
        fields = [
            pa.field(name, kind, nullable=name == "volume")
            for name, kind in zip(COLUMNS, _TYPES, strict=True)
        ]
        return pa.schema(fields, metadata={"symbols": msgspec.json.encode(symbols)})

    def table(self, block: BarBlock) -> pa.RecordBatch:
        """Return rows as a record batch of that schema."""
        columns = self.batch(block, pa.array(block.bars.ts, _TYPES[1])).columns
        return pa.record_batch(columns, schema=self._schema)

    def start(self) -> bytes:
        """Return the schema message."""
        self._sink = Sink()
        self._schema = self.schema()
        self._writer = self.open(self._sink)
        return self._sink.drain()

    def open(self, sink: Sink) -> pa.ipc.RecordBatchStreamWriter:
        """Return the writer of the format."""
        return pa.ipc.new_stream(sink, self._schema)

    def block(self, block: BarBlock) -> bytes:
        """Return rows as one message."""
        self._writer.write_batch(self.table(block))
        return self._sink.drain()

    def finish(self) -> Sequence[bytes]:
        """Return the end-of-stream marker."""
        self._writer.close()
        return (self._sink.drain(),)
