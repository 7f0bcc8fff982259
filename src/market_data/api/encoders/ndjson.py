"""NDJSON: one object a line, rows only."""

from market_data.api.encoders.rows import ObjectEncoder, object_parts
from market_data.repositories.market_price import BarBlock


class NdjsonEncoder(ObjectEncoder):
    """Bars as lines of JSON."""

    name = "ndjson"
    media_type = "application/x-ndjson"
    parts = object_parts(b"\n")

    def block(self, block: BarBlock) -> bytes:
        """Return rows as lines."""
        return self.rows(block).tobytes()
