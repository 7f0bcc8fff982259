"""Page tokens: opaque, stateless, checked, and bound to the query that made them."""

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple, TypeVar

import msgspec

from market_data.core.exceptions import InvalidPageToken

KeyT = TypeVar("KeyT")
ItemT = TypeVar("ItemT")


# Whoever knows a query can make a token of it, so what a token holds is checked like any other input.
class SymbolKey(NamedTuple):
    """Behind which row a list in order of symbol goes on."""

    symbol: Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,32}$")]
    id: Annotated[int, msgspec.Meta(ge=1, lt=2**31)]


class IdKey(NamedTuple):
    """Behind which row a list in order of id goes on."""

    id: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


DAMAGED = (
    "is damaged or was made by another query: repeat the query that gave it "
    "(limit and format may change), or start again without it"
)
_CHECK_BYTES = 6


def _check(payload: bytes, query: object) -> bytes:
    question = msgspec.msgpack.encode(query)
    digest = hashlib.blake2b(payload, key=hashlib.blake2b(question, digest_size=32).digest())
    return digest.digest()[:_CHECK_BYTES]


def encode_token(key: object, query: object) -> str:
    """Write where to go on (`key`), readable only together with the same `query`."""
    payload = msgspec.msgpack.encode(key)
    return base64.urlsafe_b64encode(_check(payload, query) + payload).decode().rstrip("=")


def decode_token(token: str, query: object, key_type: type[KeyT]) -> KeyT:
    """Read where to go on.

    Raises:
        InvalidPageToken: it is damaged, or another query made it.

    """
    try:
        whole = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        check, payload = whole[:_CHECK_BYTES], whole[_CHECK_BYTES:]
        if check == _check(payload, query):
            return msgspec.msgpack.decode(payload, type=key_type)
    except (binascii.Error, ValueError, msgspec.DecodeError):
        pass
    raise InvalidPageToken(DAMAGED)


def resume(page_token: str | None, query: object, key_type: type[KeyT]) -> KeyT | None:
    """Read behind which row a list goes on; None at its beginning.

    Raises:
        InvalidPageToken: the token is damaged, or another query made it.

    """
    return None if page_token is None else decode_token(page_token, query, key_type)


def cut_page(
    found: Sequence[ItemT], limit: int, query: object, key_of: Callable[[ItemT], object]
) -> tuple[list[ItemT], str | None]:
    """Return a page of rows of which one more than `limit` was read, and the token of the next page."""
    page = list(found[:limit])
    return page, encode_token(key_of(page[-1]), query) if len(found) > limit else None
