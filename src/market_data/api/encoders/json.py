"""JSON: `{"data":[{...},...],"symbols":{...},"next_page_token":...}`, streamed."""

import io

from market_data.api.encoders.base import Encoder, tail
from market_data.repositories.market_price import BarBlock


class JsonEncoder(Encoder):
    """Bars as objects; symbols and token come last, when they are known."""

    name = "json"
    media_type = "application/json"
    envelope = True
    _separator = b""

    def start(self) -> bytes:
        """Open the envelope."""
        return b'{"data":['

    def block(self, block: BarBlock) -> bytes:
        """Return rows as objects."""
        written = io.BytesIO()
        self.text_frame(block).write_json(written)
        rows = written.getbuffer()[1:-1]  # without the brackets of an array of its own
        separator, self._separator = self._separator, b","
        return b"".join((separator, rows))

    def finish(self) -> bytes:
        """Close the envelope."""
        return b"]," + tail(self.page)
