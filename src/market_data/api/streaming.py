"""Bars as a response: streamed with back-pressure, or collected where headers depend on the rows."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from market_data.api.encoders import Encoder

_NEGOTIATED = {"Vary": "Accept"}
"""Tells caches that the same address has other answers (RFC 9110, section 12.5.5)."""


class BarStream(StreamingResponse):
    """Streams an answer and closes its query whatever happens to the client."""

    def __init__(self, begun: Sequence[bytes], pieces: AsyncGenerator[bytes], media_type: str) -> None:
        super().__init__(_joined(begun, pieces), media_type=media_type, headers=_NEGOTIATED)
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


async def respond(request: Request, encoder: Encoder) -> Response:
    """Answer with bars.

    Collected are small answers, for which a stream costs more than it saves, and row formats with a limit,
    because the link to the next page is a header.
    """
    page = encoder.page
    if not page.is_small and (encoder.envelope or page.limit is None):
        pieces = encoder.stream()
        # The start of an answer comes before its query and rows after: a query that fails is an error,
        # not half an answer.
        begun = [await anext(pieces), await anext(pieces)]
        return BarStream(begun, pieces, encoder.media_type)
    body = b"".join([piece async for piece in encoder.stream()])
    token = None if encoder.envelope else page.summary().next_page_token
    headers = dict(_NEGOTIATED)
    if token is not None:
        following = request.url.include_query_params(page_token=token)
        headers["Link"] = f'<{following}>; rel="next"'
    return Response(body, media_type=encoder.media_type, headers=headers)
