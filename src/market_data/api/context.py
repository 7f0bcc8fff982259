"""What surrounds every request: its id, its log line, and how large its body may be."""

import logging
import re
import secrets
import time
from collections.abc import Mapping
from itertools import count

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from market_data.core import metrics
from market_data.core.exceptions import BodyTooLarge

_GIVEN = re.compile(rb"[A-Za-z0-9._~+/=-]{1,128}")
_log = structlog.get_logger("market_data.access")
_access = logging.getLogger("market_data.access")
_process = secrets.token_hex(8)
_numbers = count(1)


def request_id() -> str:
    """Return the id of the request being served, or an empty text."""
    found: str = structlog.contextvars.get_contextvars().get("request_id", "")
    return found


def _new_id() -> str:
    """Make an id: of this process, and within it of the request."""
    return f"{_process}{next(_numbers):016x}"


def _given_id(scope: Scope) -> str | None:
    """Return the id the client gave, where it is one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _GIVEN.fullmatch(value):
            return str(value, "ascii")
    return None


class RequestContext:
    """Echo or make X-Request-ID, bind it to the log, and count and log each request once it is answered.

    Requests are counted by what the router found; `names` are those of paths it is not asked about.
    """

    def __init__(self, app: ASGIApp, *, names: Mapping[str, str]) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity = _given_id(scope) or _new_id()
        structlog.contextvars.bind_contextvars(request_id=identity)  # each request has a context of its own
        began, status = time.perf_counter(), 0

        async def identified(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", identity.encode())]
            await send(message)

        try:
            await self._app(scope, receive, identified)
        finally:
            seconds, route = time.perf_counter() - began, scope.get("route")
            template = self._names.get(scope["path"], metrics.OTHER) if route is None else route.path
            metrics.http_answered(scope["method"], template, status, seconds)
            if _access.isEnabledFor(logging.INFO):
                ms = round(seconds * 1000, 1)
                _log.info("request", method=scope["method"], path=scope["path"], status=status, ms=ms)


def _declared_bytes(scope: Scope) -> float:
    """Read Content-Length; 0 where it says nothing, for what was not declared is counted."""
    declared = Headers(scope=scope).get("content-length", "")
    return float(declared) if declared.isascii() and declared.isdigit() else 0


_WITHOUT_BODY = {"GET", "HEAD"}
"""Nobody reads a body of these."""


class BodyLimit:
    """Refuse bodies over a limit: at once where Content-Length tells, else when they pass it."""

    def __init__(self, app: ASGIApp, *, bulk_path: str, bulk_bytes: int, other_bytes: int = 1024**2) -> None:
        self._app = app
        self._bulk_path = bulk_path
        self._bulk_bytes = bulk_bytes
        self._other_bytes = min(other_bytes, bulk_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, counting its body."""
        if scope["type"] != "http" or scope["method"] in _WITHOUT_BODY:
            await self._app(scope, receive, send)
            return
        limit = self._bulk_bytes if scope["path"] == self._bulk_path else self._other_bytes
        refused = _declared_bytes(scope) > limit
        read = 0

        async def counted() -> Message:
            nonlocal read
            if refused:
                raise BodyTooLarge(limit)
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                raise BodyTooLarge(limit)
            return message

        await self._app(scope, counted, send)
