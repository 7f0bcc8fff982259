"""Addresses of a vendor's server: which can be asked at all, and which redirects stay with it."""

from collections.abc import Mapping

import httpx2


def address_of(text: str, params: Mapping[str, str | int] | None) -> httpx2.URL | None:
    """Return the address to ask; None where the text is none of HTTP."""
    try:
        url = httpx2.URL(text, params=dict(params)) if params else httpx2.URL(text)
    except (httpx2.InvalidURL, ValueError):
        return None
    return url if url.scheme in {"http", "https"} and url.host else None


def same_server(url: httpx2.URL, onward: httpx2.URL) -> bool:
    """Whether a redirect stays on the server, or leads to the same one over TLS."""
    if url.host != onward.host:
        return False
    upgrade = url.scheme == "http" and onward.scheme == "https" and url.port is None and onward.port is None
    return upgrade or (url.scheme == onward.scheme and url.port == onward.port)
