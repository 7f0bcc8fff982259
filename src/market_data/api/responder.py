"""An answer with bars: what the client has already, what was answered before, or a new one."""

from dataclasses import dataclass

from fastapi import Request, Response

from market_data.api.compression import choose_coding, packed
from market_data.api.frames import Frame, FrameCache
from market_data.api.price_request import PriceRequest
from market_data.api.streaming import BarStream, RawHeaders, WholeAnswer, encoded, kept
from market_data.api.validators import Validators, validators_of
from market_data.core.bounded_cache import BoundedCache
from market_data.services.market_price import MarketPriceService, Sighting
from market_data.services.price_page import PricePage

_VARY = (b"vary", b"Accept, Accept-Encoding")
"""Tells caches that the same address has other answers (RFC 9110, section 12.5.5)."""
_REMEMBERED = 8192
"""Rows of instruments and series for which it is remembered what an answer was found to be."""


@dataclass(frozen=True, slots=True)
class _Announced:
    """What an answer is, as far as can be told before its rows are read."""

    validators: Validators
    headers: RawHeaders


class PriceResponder:
    """Answers every request for bars of a process."""

    def __init__(self, service: MarketPriceService, frames: FrameCache) -> None:
        self._service = service
        self._frames = frames
        self._announced: BoundedCache[tuple[PriceRequest, str | None, Sighting], _Announced] = BoundedCache(
            _REMEMBERED
        )

    async def respond(self, request: Request, asked: PriceRequest) -> Response:
        """Answer with bars, or with 304 where the client has them.

        Raises:
            InstrumentNotFound: all are unknown, or in a row format some are.
            AmbiguousSymbol: in a row format, some fit several instruments.
            InvalidPageToken: the token is damaged or another query's.

        """
        client = request.headers
        coding = choose_coding(client.get("accept-encoding")) if asked.encoder.compressible else None
        seen = await self._service.look(asked.query)
        key, page = (asked, coding, seen), None
        told = self._announced.get(key)
        if told is None:
            page = self._service.page(asked.query, seen)
            told = _announce(page, asked.encoder.name, coding)
            self._announced.put(key, told, 1 + len(seen.listed))
        if told.validators.match(client.get("if-none-match"), client.get("if-modified-since")):
            return WholeAnswer(304, told.headers)
        frame = self._frames.get(told.validators.tag)
        headers = [*told.headers, (b"content-type", asked.encoder.media_type.encode())]
        if coding is not None:
            headers.append((b"content-encoding", coding.encode()))
        if frame is None:
            page = page or self._service.page(asked.query, seen)
            if not page.is_small and (asked.encoder.envelope or page.limit is None):
                return await self._stream(asked, coding, page, told.validators.tag, headers)
            frame = await self._collect(asked, coding, page, told.validators.tag)
        if frame.next_page_token is not None:
            following = request.url.include_query_params(page_token=frame.next_page_token)
            headers.append((b"link", f'<{following}>; rel="next"'.encode()))
        headers.append((b"content-length", str(len(frame.body)).encode()))
        return WholeAnswer(200, headers, frame.body)

    async def _stream(
        self, asked: PriceRequest, coding: str | None, page: PricePage, tag: str, headers: RawHeaders
    ) -> Response:
        """Begin a stream: with its first rows, so that a query that fails is an error, not half an answer."""
        pieces = kept(encoded(asked.encoder(page), coding), self._frames, tag)
        return BarStream(headers, [await anext(pieces, b""), await anext(pieces, b"")], pieces)

    async def _collect(self, asked: PriceRequest, coding: str | None, page: PricePage, tag: str) -> Frame:
        """Answer at once.

        For small answers a stream costs more than it saves; row formats with a limit need the token of the
        next page for a header.
        """
        body = await asked.encoder(page).whole()
        if coding is not None:
            body = packed(body, coding)
        frame = Frame(body, None if asked.encoder.envelope else page.summary().next_page_token)
        self._frames.put(tag, frame)
        return frame


def _announce(page: PricePage, format_name: str, coding: str | None) -> _Announced:
    validators = validators_of(page, format_name, coding)
    return _Announced(validators, [_VARY, *validators.headers()])


async def respond(request: Request, asked: PriceRequest) -> Response:
    """Answer with bars; see `PriceResponder.respond`."""
    responder: PriceResponder = request.app.state.responder
    return await responder.respond(request, asked)
