"""One vendor's answer as a value, and what its status means where a client does not know better."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from market_data.core.exceptions import (
    ProviderAuthError,
    ProviderError,
    ProviderRateLimited,
    ProviderUnavailable,
    SymbolNotFound,
    UnsupportedRequest,
)

_EXCERPT = 300
_CLOSING = {b"{": b"}", b"[": b"]"}
_SECONDS = re.compile(r"\d{1,9}(\.\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a vendor sent: status, headers (lower-case names) and decompressed body, secrets masked."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """The body as text for reading; bytes that are no UTF-8 show as replacement characters."""
        return self.body.decode("utf-8-sig", "replace")

    @property
    def excerpt(self) -> str:
        """The body's beginning in one line, for an error text; markup is not worth showing."""
        text = " ".join(self.text.split())
        if text.startswith("<"):
            return "a page of markup"
        return text[:_EXCERPT] or "an empty body"

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait by RFC 9110, 10.2.3: a number, or a date measured against the answer's own Date."""
        text = self.headers.get("retry-after", "").strip()
        if _SECONDS.fullmatch(text):
            return float(text)
        until = _date(text)
        if until is None:
            return None
        return max((until - self.sent_at).total_seconds(), 0.0)

    @property
    def sent_at(self) -> datetime:
        """When it was sent by the vendor's own clock, which its times are told by; else now."""
        return _date(self.headers.get("date", "")) or datetime.now(UTC)

    @property
    def temporary(self) -> bool:
        """Whether asking again soon may help. 418 is a ban: asking again prolongs it."""
        return self.status in {408, 429} or self.status >= 500

    @property
    def broken(self) -> bool:
        """Whether it calls itself a success and is half a JSON, or the web page of something in between.

        Both pass: proxies and caches show a page while they cannot reach the vendor, and cut answers short.
        """
        if self.status >= 300:
            return False
        body = self.body.strip()
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind.endswith("json"):
            closing = _CLOSING.get(body[:1])
            return closing is not None and not body.endswith(closing)
        return kind == "text/html" and body[:14].lower().startswith((b"<!doctype html", b"<html"))


Explain = Callable[[Answer], ProviderError | None]
"""A client's own reading of an answer with status 400 or above; None leaves it to the general rule."""


def error_of(provider: str, answer: Answer, excerpt: str) -> ProviderError:
    """Return the error an answer without success stands for by its status; `excerpt` is fit to be read."""
    text = f"answered {answer.status}: {excerpt}"
    match answer.status:
        case 401 | 403:
            return ProviderAuthError(provider, text)
        case 404 | 410:
            return SymbolNotFound(provider, text)
        case 418 | 429:
            return ProviderRateLimited(provider, text, answer.retry_after)
        case status if 400 <= status < 500 and status != 408:
            return UnsupportedRequest(provider, text)
        case _:
            return ProviderUnavailable(provider, text)


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found
