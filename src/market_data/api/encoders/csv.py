"""CSV (RFC 4180) with a header line, rows only; an absent volume is an empty cell."""

from market_data.api.encoders.rows import RowEncoder
from market_data.core.bars import COLUMNS
from market_data.repositories.market_price import BarBlock

_SPECIAL = frozenset('",\r\n')


class CsvEncoder(RowEncoder):
    """Bars as comma-separated lines."""

    name = "csv"
    media_type = "text/csv; charset=utf-8"
    parts = (b"", b",", b",", b",", b",", b",", b",", b"\n")
    absent = b""

    @staticmethod
    def quoted(label: str) -> bytes:
        """Put a symbol between quotes where it needs them."""
        text = label if _SPECIAL.isdisjoint(label) else '"' + label.replace('"', '""') + '"'
        return text.encode()

    def start(self) -> bytes:
        """Return the header line."""
        return ",".join(COLUMNS).encode() + b"\n"

    def block(self, block: BarBlock) -> bytes:
        """Return rows as lines."""
        return self.rows(block).tobytes()
