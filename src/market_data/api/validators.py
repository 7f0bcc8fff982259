"""Whether a client's copy is still good, and how long caches may believe so (RFC 9110 and RFC 9111)."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import lru_cache

from market_data.core import clock
from market_data.services.price_page import PricePage

_SETTLED = b"public, max-age=60"
"""A correction of sealed history is seen by everybody within a minute."""
_MOVING = b"no-cache"
"""Caches may keep it, and ask each time whether it changed."""


@dataclass(frozen=True, slots=True)
class Validators:
    """By what one representation of an answer is known again; told from versions, without reading a bar."""

    tag: str
    changed: str | None
    """When its bars last changed, as an HTTP date, where that can be told."""
    is_settled: bool

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers by which caches keep the answer and ask for it again."""
        found = [(b"etag", self.tag.encode()), (b"cache-control", _SETTLED if self.is_settled else _MOVING)]
        return found if self.changed is None else [*found, (b"last-modified", self.changed.encode())]

    def match(self, if_none_match: str | None, if_modified_since: str | None) -> bool:
        """Tell whether the client has this very answer.

        A date counts only where no tag is given, and only when it is the very one that was sent: it may go
        back when a source that answered before answers again.
        """
        if if_none_match is not None:
            asked = [one.strip().removeprefix("W/") for one in if_none_match.split(",")]
            return self.tag in asked or asked == ["*"]
        return self.changed is not None and if_modified_since == self.changed


@lru_cache(1024)
def _http_date(instant: datetime) -> str:
    return format_datetime(instant.astimezone(UTC), usegmt=True)


def validators_of(page: PricePage, format_name: str, coding: str | None) -> Validators:
    """Return those of an answer in one format and coding."""
    tag = f'"{page.validator}-{format_name}{f"-{coding}" if coding else ""}"'
    changed = page.updated_at
    date = None
    # Changes of a series that share a second are told in the next ones; those of others may still come in it.
    if changed is not None and changed.replace(microsecond=0) + timedelta(seconds=1) <= clock.now():
        date = _http_date(changed)
    return Validators(tag, date, page.is_settled)
