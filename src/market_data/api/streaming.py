"""Bars on their way out: whole, or piece by piece with back-pressure, compressed where asked."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from market_data.api.compression import compressor
from market_data.api.encoders import Encoder
from market_data.api.frames import Frame, FrameCache

_INLINE_BYTES = 256 * 1024
"""Fewer bytes are compressed faster than handed to a thread."""
_SLICE = 1024**2
"""Bytes of a known body sent at a time, so that a slow client does not hold all of it twice."""

RawHeaders = list[tuple[bytes, bytes]]


class WholeAnswer(Response):
    """A body that is known before its headers are sent."""

    def __init__(self, status_code: int, headers: RawHeaders, body: bytes = b"") -> None:
        self.status_code = status_code
        self.raw_headers = headers
        self.body = body
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 # ASGI
        """Send it, in slices where it is large."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        body = self.body
        if len(body) > _SLICE:
            view = memoryview(body)
            for place in range(0, len(body), _SLICE):
                piece = view[place : place + _SLICE]
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            body = b""
        await send({"type": "http.response.body", "body": body})


class BarStream(StreamingResponse):
    """Streams an answer and closes its query whatever happens to the client."""

    def __init__(self, headers: RawHeaders, begun: Sequence[bytes], pieces: AsyncGenerator[bytes]) -> None:
        super().__init__(_joined(begun, pieces))
        self.raw_headers = headers
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the pieces."""
        async with aclosing(self._pieces):
            await super().__call__(scope, receive, send)


async def _joined(begun: Sequence[bytes], pieces: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    for piece in begun:
        if piece:
            yield piece
    async for piece in pieces:
        if piece:
            yield piece


async def encoded(encoder: Encoder, coding: str | None) -> AsyncGenerator[bytes]:
    """Yield the body in the coding asked for."""
    async with aclosing(encoder.stream()) as pieces:
        if coding is None:
            async for piece in pieces:
                yield piece
            return
        compressing = compressor(coding)
        async for piece in pieces:
            if len(piece) < _INLINE_BYTES:
                yield compressing.compress(piece)
            else:
                yield await asyncio.to_thread(compressing.compress, piece)
        yield compressing.finish()


async def kept(pieces: AsyncGenerator[bytes], frames: FrameCache, tag: str) -> AsyncGenerator[bytes]:
    """Yield the pieces; once all were sent, keep them, if they are not too many."""
    held: list[bytes] | None = []
    size = 0
    async with aclosing(pieces):
        async for piece in pieces:
            size += len(piece)
            if size > frames.largest:
                held = None
            if held is not None:
                held.append(piece)
            yield piece
    if held is not None:
        frames.put(tag, Frame(b"".join(held), None))
