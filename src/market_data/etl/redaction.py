"""Keeping secrets out of everything people read: errors, log lines, and the raw text of rejections.

Vendors such as Alpha Vantage take the key in the URL and may echo it in a body ("We have detected your API
key as XXXX"), so neither a URL nor a body may be shown as it is.
"""

import html
import json
import logging
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = "[redacted]"
_BODY_MINIMUM = 6
"""Shorter words are no real keys (`demo`), and masking them could change a body's meaning."""

_LOGGERS = (
    "httpx2",
    *(f"httpcore2.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")),
)


class Redactor:
    """Masks secrets wherever they stand, in each spelling a vendor could send one back."""

    def __init__(self, secrets: Iterable[str]) -> None:
        found = {spelling for secret in secrets if secret.strip() for spelling in _spellings(secret.strip())}
        self._spellings = sorted(found, key=len, reverse=True)
        self._in_bodies = [
            spelling.encode() for spelling in self._spellings if len(spelling) >= _BODY_MINIMUM
        ]

    def text(self, text: str) -> str:
        """Mask every secret, however short, in words meant for people."""
        for spelling in self._spellings:
            text = text.replace(spelling, MASK)
        return text

    def body(self, body: bytes) -> bytes:
        """Mask every secret of six characters or more in an answer, before anything parses or keeps it."""
        for spelling in self._in_bodies:
            body = body.replace(spelling, MASK.encode())
        return body

    def __repr__(self) -> str:
        return f"Redactor({len(self._spellings)} spellings)"


def _spellings(secret: str) -> set[str]:
    return {
        secret,
        quote(secret, safe=""),
        quote_plus(secret),
        html.escape(secret),
        json.dumps(secret)[1:-1],
    }


class _Silence(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - the signature is logging's
        return False


_SILENCE = _Silence()


def silence_http_loggers() -> None:
    """Drop the HTTP library's own log lines: they hold whole URLs and headers.

    A filter and not a level, because levels are what logging configurations and debugging users change.
    Repeating is harmless: a logger keeps each filter once.
    """
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_SILENCE)
