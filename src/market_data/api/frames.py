"""Answers given before, as bytes, by the name of what they told: a stale one is never asked for again."""

from dataclasses import dataclass

from market_data.core.bounded_cache import BoundedCache

_OVERHEAD = 512
"""Bytes of name and objects."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole answer: its body, and the token of the next page where a header tells it."""

    body: bytes
    next_page_token: str | None


class FrameCache:
    """Keeps the answers used last, in bounded memory."""

    def __init__(self, most_bytes: int) -> None:
        self._frames: BoundedCache[str, Frame] = BoundedCache(most_bytes)
        self.largest = self._frames.largest
        """Bytes of the largest body that is kept."""

    def get(self, name: str) -> Frame | None:
        """Return an answer, and count it as used."""
        return self._frames.get(name)

    def put(self, name: str, frame: Frame) -> None:
        """Keep an answer, unless it is too large."""
        self._frames.put(name, frame, _OVERHEAD + len(frame.body) + len(frame.next_page_token or ""))
