"""Content-Encoding, negotiated and streamed: each piece leaves as soon as it is compressed.

RFC 9110, section 12.5.3; zstd: RFC 8878, gzip: RFC 1952.
"""

from functools import lru_cache
from typing import Protocol

from backports import zstd
from isal import isal_zlib

from market_data.api.negotiation import accepted

_ZSTD_LEVEL = 1
_ISAL_LEVEL = 1
_GZIP_WINDOW = 31
"""Bits of the largest window, and 16 that ask for gzip's wrapping."""


class Compressor(Protocol):
    """Compresses one body, piece by piece."""

    def compress(self, piece: bytes) -> bytes:
        """Return a piece so that the client can read all of it at once."""
        ...

    def finish(self) -> bytes:
        """Return the end of the body."""
        ...


class _Zstd:
    def __init__(self) -> None:
        self._stream = zstd.ZstdCompressor(level=_ZSTD_LEVEL)

    def compress(self, piece: bytes) -> bytes:
        return self._stream.compress(piece, self._stream.FLUSH_BLOCK)

    def finish(self) -> bytes:
        return self._stream.flush(self._stream.FLUSH_FRAME)


class _Gzip:
    def __init__(self) -> None:
        self._stream = isal_zlib.compressobj(_ISAL_LEVEL, isal_zlib.DEFLATED, _GZIP_WINDOW)

    def compress(self, piece: bytes) -> bytes:
        return self._stream.compress(piece) + self._stream.flush(isal_zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._stream.flush()


_CODINGS: dict[str, type[Compressor]] = {"zstd": _Zstd, "gzip": _Gzip}
"""In order of preference among those equally welcome."""


@lru_cache(maxsize=256)
def choose_coding(accept_encoding: str | None) -> str | None:
    """Return the coding to answer in, or None for none: what is not named is not used."""
    if not accept_encoding:
        return None
    weights = dict(accepted(accept_encoding))
    rest = weights.get("*", 0.0)
    best = max(_CODINGS, key=lambda coding: weights.get(coding, rest))
    weight = weights.get(best, rest)
    return best if weight > 0 and weight >= weights.get("identity", 0.0) else None


def compressor(coding: str) -> Compressor:
    """Begin a body in this coding."""
    return _CODINGS[coding]()


def packed(body: bytes, coding: str) -> bytes:
    """Return a whole body in this coding."""
    stream = compressor(coding)
    return stream.compress(body) + stream.finish()
