"""Columnar JSON: `{"data":{"symbol":[],"ts":[],...},"symbols":{...},"next_page_token":...}`, collected."""

import numpy as np
import orjson
from numpy.typing import NDArray

from market_data.api.encoders.base import Encoder, tail
from market_data.api.encoders.text import WIDTH, rfc3339
from market_data.core.bars import COLUMNS
from market_data.repositories.market_price import BarBlock


class ColumnsEncoder(Encoder):
    """Bars as arrays: a third of the bytes of objects, and what data frames want."""

    name = "columns"
    media_type = "application/json"
    envelope = True

    def start(self) -> bytes:
        """Begin collecting."""
        self._pieces: dict[str, list[bytes]] = {name: [] for name in COLUMNS}
        return b""

    def block(self, block: BarBlock) -> bytes:
        """Keep the rows, encoded; they are returned at the end, column by column."""
        self._pieces["symbol"].append(self._symbols(block))
        self._pieces["ts"].append(_quoted(rfc3339(block.bars.ts)))
        for name in COLUMNS[2:]:  # NaN is written as null
            values = orjson.dumps(getattr(block.bars, name), option=orjson.OPT_SERIALIZE_NUMPY)
            self._pieces[name].append(values[1:-1])
        return b""

    def _symbols(self, block: BarBlock) -> bytes:
        numbers, counts = np.unique(block.position, return_counts=True)
        labels = [orjson.dumps(self.page.labels[number]) for number in numbers]
        return b",".join(
            (label + b",") * (count - 1) + label for label, count in zip(labels, counts, strict=True)
        )

    def finish(self) -> bytes:
        """Return the whole answer."""
        columns = (b'"%s":[%s]' % (name.encode(), b",".join(self._pieces[name])) for name in COLUMNS)
        return b'{"data":{' + b",".join(columns) + b"}," + tail(self.page)


def _quoted(texts: NDArray[np.uint8]) -> bytes:
    """Put ASCII texts of shape (n, 20) between quotes, with commas."""
    written = np.full((len(texts), WIDTH + 3), ord('"'), np.uint8)
    written[:, 1 : WIDTH + 1] = texts
    written[:, -1] = ord(",")
    return written.tobytes()[:-1]
