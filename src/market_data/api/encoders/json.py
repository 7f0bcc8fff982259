"""JSON: `{"data":[{...},...],"symbols":{...},"next_page_token":...}`, streamed."""

from collections.abc import Sequence

from market_data.api.encoders.base import tail
from market_data.api.encoders.rows import ObjectEncoder, object_parts
from market_data.repositories.market_price import BarBlock


class JsonEncoder(ObjectEncoder):
    """Bars as objects; symbols and token come last, when they are known."""

    name = "json"
    media_type = "application/json"
    envelope = True
    parts = object_parts(b",")
    _separator = b""

    def start(self) -> bytes:
        """Open the envelope."""
        return b'{"data":['

    def block(self, block: BarBlock) -> bytes:
        """Return rows as objects."""
        separator, self._separator = self._separator, b","
        return b"".join((separator, self.rows(block)[:-1].data))

    def finish(self) -> Sequence[bytes]:
        """Close the envelope."""
        return (b"]," + tail(self.page),)
