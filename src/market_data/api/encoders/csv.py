"""CSV (RFC 4180) with a header line, rows only; an absent volume is an empty cell."""

import io

from market_data.api.encoders.base import Encoder
from market_data.core.bars import COLUMNS
from market_data.repositories.market_price import BarBlock


class CsvEncoder(Encoder):
    """Bars as comma-separated lines."""

    name = "csv"
    media_type = "text/csv; charset=utf-8"

    def start(self) -> bytes:
        """Return the header line."""
        return ",".join(COLUMNS).encode() + b"\n"

    def block(self, block: BarBlock) -> bytes:
        """Return rows as lines."""
        written = io.BytesIO()
        self.text_frame(block).write_csv(written, include_header=False)
        return written.getvalue()
