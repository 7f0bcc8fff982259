"""Columnar JSON: `{"data":{"symbol":[],"ts":[],...},"symbols":{...},"next_page_token":...}`, collected."""

import orjson

from market_data.api.encoders.base import Encoder, tail
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
        frame = self.text_frame(block)
        for name in ("symbol", "ts"):
            self._pieces[name].append(orjson.dumps(frame[name].to_list())[1:-1])
        for name in COLUMNS[2:]:  # NaN is written as null
            values = orjson.dumps(getattr(block.bars, name), option=orjson.OPT_SERIALIZE_NUMPY)
            self._pieces[name].append(values[1:-1])
        return b""

    def finish(self) -> bytes:
        """Return the whole answer."""
        columns = (b'"%s":[%s]' % (name.encode(), b",".join(self._pieces[name])) for name in COLUMNS)
        return b'{"data":{' + b",".join(columns) + b"}," + tail(self.page)
