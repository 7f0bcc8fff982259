"""Which format answers: `?format=` wins over `Accept` (RFC 9110, section 12.5.1)."""

import re
from functools import lru_cache

from market_data.api.encoders import ENCODERS, Encoder
from market_data.api.problems import NotAcceptable
from market_data.core.exceptions import InvalidInput

COLUMNS_TYPE = "application/vnd.market-data.columns+json"
"""Asks for `columns` by Accept; such an answer is application/json, which it also is."""

_QVALUE = re.compile(r"[01](\.[0-9]*)?")

_BY_TYPE = {
    encoder.media_type.split(";")[0]: encoder for encoder in ENCODERS.values() if encoder.name != "columns"
}
_BY_TYPE |= {COLUMNS_TYPE: ENCODERS["columns"], "application/ndjson": ENCODERS["ndjson"]}
_BY_TYPE |= {"application/jsonl": ENCODERS["ndjson"], "application/x-parquet": ENCODERS["parquet"]}


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.strip().partition("=")
        if name == "q":
            return float(value) if _QVALUE.fullmatch(value.strip()) else 0.0
    return 1.0


def accepted(accept: str) -> list[tuple[str, float]]:
    """Read an Accept header, or another of its form: what is accepted, and how gladly."""
    ranges = (part.strip().split(";") for part in accept.split(",") if part.strip())
    return [(head.strip().lower(), _quality(parameters)) for head, *parameters in ranges]


def _weight(media_type: str, wanted: list[tuple[str, float]]) -> float:
    """Return how welcome a type is: the most specific range that covers it decides."""
    major = media_type.split("/", maxsplit=1)[0]
    for pattern in (media_type, f"{major}/*", "*/*"):
        found = [quality for name, quality in wanted if name == pattern]
        if found:
            return max(found)
    return 0.0


@lru_cache(maxsize=256)
def choose(format_name: str | None, accept: str | None) -> type[Encoder]:
    """Return the encoder asked for.

    Raises:
        InvalidInput: no such format.
        NotAcceptable: no accepted media type can be produced.

    """
    if format_name is not None:
        if format_name not in ENCODERS:
            raise InvalidInput("format", f"use one of {', '.join(ENCODERS)}")
        return ENCODERS[format_name]
    wanted = accepted(accept or "*/*") or [("*/*", 1.0)]
    best = max(_BY_TYPE, key=lambda media_type: _weight(media_type, wanted))  # the first of equals: JSON
    if _weight(best, wanted) <= 0:
        raise NotAcceptable(f"Accept: {accept!r} names none of {', '.join(_BY_TYPE)}; or use ?format=")
    return _BY_TYPE[best]
