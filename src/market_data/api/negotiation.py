"""Which format answers: `?format=` wins over `Accept` (RFC 9110, section 12.5.1)."""

import re
from typing import Annotated

from fastapi import Depends, Header, Query

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


def _accepted(accept: str) -> list[tuple[str, float]]:
    ranges = (part.strip().split(";") for part in accept.split(",") if part.strip())
    return [(head.strip().lower(), _quality(parameters)) for head, *parameters in ranges]


def _weight(media_type: str, accepted: list[tuple[str, float]]) -> float:
    """Return how welcome a type is: the most specific range that covers it decides."""
    major = media_type.split("/", maxsplit=1)[0]
    for pattern in (media_type, f"{major}/*", "*/*"):
        found = [quality for name, quality in accepted if name == pattern]
        if found:
            return max(found)
    return 0.0


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
    accepted = _accepted(accept or "*/*") or [("*/*", 1.0)]
    best = max(_BY_TYPE, key=lambda media_type: _weight(media_type, accepted))  # the first of equals: JSON
    if _weight(best, accepted) <= 0:
        raise NotAcceptable(f"Accept: {accept!r} names none of {', '.join(_BY_TYPE)}; or use ?format=")
    return _BY_TYPE[best]


async def _format(
    format_name: Annotated[
        str | None,
        Query(
            alias="format",
            description=f"One of {', '.join(ENCODERS)}; wins over Accept.",
            json_schema_extra={"enum": list(ENCODERS)},
        ),
    ] = None,
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> type[Encoder]:
    return choose(format_name, accept)


Format = Annotated[type[Encoder], Depends(_format)]
