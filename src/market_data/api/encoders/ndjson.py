"""NDJSON: one object a line, rows only."""

import io

from market_data.api.encoders.base import Encoder
from market_data.repositories.market_price import BarBlock


class NdjsonEncoder(Encoder):
    """Bars as lines of JSON."""

    name = "ndjson"
    media_type = "application/x-ndjson"

    def block(self, block: BarBlock) -> bytes:
        """Return rows as lines."""
        written = io.BytesIO()
        self.text_frame(block).write_ndjson(written)
        return written.getvalue()
