"""A cache of bounded memory: what was used longest ago makes room."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")

_SHARE = 4
"""No value takes more than one part in so many of the memory."""


class BoundedCache(Generic[KeyT, ValueT]):
    """Keeps the values used last, up to so many bytes in all."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._values: OrderedDict[KeyT, tuple[ValueT, int]] = OrderedDict()
        self._held = 0

    @property
    def largest(self) -> int:
        """Bytes of the largest value that is kept."""
        return self._most // _SHARE

    def get(self, key: KeyT) -> ValueT | None:
        """Return a value, and count it as used."""
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def put(self, key: KeyT, value: ValueT, size: int) -> None:
        """Keep a value of so many bytes in place of any other under its key, unless it is too large."""
        _, before = self._values.pop(key, (None, 0))
        self._held -= before
        if size > self.largest:
            return
        self._values[key] = value, size
        self._held += size
        while self._held > self._most:
            _, (_, dropped) = self._values.popitem(last=False)
            self._held -= dropped
