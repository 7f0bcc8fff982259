"""Answers given before, as bytes, by the name of what they told: a stale one is never asked for again."""

from collections import OrderedDict
from dataclasses import dataclass

_SHARE = 4
"""No answer takes more than one part in so many of the memory."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole answer: its body, and the token of the next page where a header tells it."""

    body: bytes
    next_page_token: str | None


class FrameCache:
    """Keeps the answers used last, in bounded memory."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._frames: OrderedDict[str, Frame] = OrderedDict()
        self._held = 0

    @property
    def largest(self) -> int:
        """Bytes of the largest body that is kept."""
        return self._most // _SHARE

    def get(self, name: str) -> Frame | None:
        """Return an answer, and count it as used."""
        frame = self._frames.get(name)
        if frame is not None:
            self._frames.move_to_end(name)
        return frame

    def put(self, name: str, frame: Frame) -> None:
        """Keep an answer, unless it is too large; what was used longest ago makes room."""
        if len(frame.body) > self.largest or name in self._frames:
            return
        self._frames[name] = frame
        self._held += len(frame.body)
        while self._held > self._most:
            _, dropped = self._frames.popitem(last=False)
            self._held -= len(dropped.body)
