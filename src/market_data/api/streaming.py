"""Bars as a response: what the client has already, what was answered before, or a new answer.

New ones are streamed with back-pressure, or collected where headers depend on the rows.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from market_data.api.compression import choose_coding, compressor
from market_data.api.encoders import Encoder
from market_data.api.frames import Frame, FrameCache
from market_data.api.validators import entity_tag, is_fresh, validator_headers
from market_data.services.price_page import PricePage

_VARY = (b"vary", b"Accept, Accept-Encoding")
"""Tells caches that the same address has other answers (RFC 9110, section 12.5.5)."""
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


async def _encoded(encoder: Encoder, coding: str | None) -> AsyncGenerator[bytes]:
    """Yield the body in the coding asked for."""
    async with aclosing(encoder.stream()) as pieces:
        if coding is None:
            async for piece in pieces:
                yield piece
            return
        packed = compressor(coding)
        async for piece in pieces:
            if len(piece) < _INLINE_BYTES:
                yield packed.compress(piece)
            else:
                yield await asyncio.to_thread(packed.compress, piece)
        yield packed.finish()


async def _kept(pieces: AsyncGenerator[bytes], frames: FrameCache, tag: str) -> AsyncGenerator[bytes]:
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


async def respond(request: Request, encoder_type: type[Encoder], page: PricePage) -> Response:
    """Answer with bars.

    Collected are small answers, for which a stream costs more than it saves, and row formats with a limit,
    because the link to the next page is a header.
    """
    frames: FrameCache = request.app.state.frames
    asked = request.headers
    coding = choose_coding(asked.get("accept-encoding")) if encoder_type.compressible else None
    tag = entity_tag(page, encoder_type.name, coding)
    headers = [_VARY, *validator_headers(page, tag)]
    if is_fresh(page, tag, asked.get("if-none-match"), asked.get("if-modified-since")):
        return WholeAnswer(304, headers)
    headers.append((b"content-type", encoder_type.media_type.encode()))
    if coding is not None:
        headers.append((b"content-encoding", coding.encode()))
    frame = frames.get(tag)
    if frame is None:
        pieces = _encoded(encoder_type(page), coding)
        if not page.is_small and (encoder_type.envelope or page.limit is None):
            kept = _kept(pieces, frames, tag)
            # The start of an answer comes before its query and rows after: a query that fails is an error,
            # not half an answer.
            return BarStream(headers, [await anext(kept), await anext(kept)], kept)
        body = b"".join([piece async for piece in pieces])
        frame = Frame(body, None if encoder_type.envelope else page.summary().next_page_token)
        frames.put(tag, frame)
    if frame.next_page_token is not None:
        following = request.url.include_query_params(page_token=frame.next_page_token)
        headers.append((b"link", f'<{following}>; rel="next"'.encode()))
    headers.append((b"content-length", str(len(frame.body)).encode()))
    return WholeAnswer(200, headers, frame.body)
