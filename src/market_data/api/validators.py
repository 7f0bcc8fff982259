"""Whether a client's copy is still good, and how long caches may believe so (RFC 9110 and RFC 9111)."""

from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

from market_data.services.price_page import PricePage

_SETTLED = b"public, max-age=60"
"""A correction of sealed history is seen by everybody within a minute."""
_MOVING = b"no-cache"
"""Caches may keep it, and ask each time whether it changed."""


def entity_tag(page: PricePage, format_name: str, coding: str | None) -> str:
    """Name one representation of an answer; told from versions, so without reading a bar."""
    return f'"{page.validator}-{format_name}{f"-{coding}" if coding else ""}"'


def validator_headers(page: PricePage, tag: str) -> list[tuple[bytes, bytes]]:
    """Return the headers by which caches keep an answer and ask for it again."""
    found = [(b"etag", tag.encode()), (b"cache-control", _SETTLED if page.is_settled else _MOVING)]
    if (updated_at := page.updated_at) is not None:
        found.append((b"last-modified", _http_date(updated_at).encode()))
    return found


def is_fresh(page: PricePage, tag: str, if_none_match: str | None, if_modified_since: str | None) -> bool:
    """Tell whether the client has this very answer.

    A date counts only where no tag is given, and only when it is the very one that was sent: it may go back
    when a source that answered before answers again.
    """
    if if_none_match is not None:
        asked = [one.strip().removeprefix("W/") for one in if_none_match.split(",")]
        return tag in asked or asked == ["*"]
    updated_at = page.updated_at
    return updated_at is not None and if_modified_since == _http_date(updated_at)


@lru_cache(maxsize=1024)
def _http_date(instant: datetime) -> str:
    return format_datetime(instant.astimezone(UTC), usegmt=True)
