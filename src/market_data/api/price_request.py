"""What a request for bars asks, read from its parameters and headers: one meaning for every route."""

from dataclasses import dataclass

from market_data.api.dependencies import Wanted, wanted_of
from market_data.api.encoders import Encoder
from market_data.api.negotiation import choose
from market_data.core.exceptions import InvalidInput
from market_data.core.interval import require_range
from market_data.schemas.price_query import LatestParams, PriceParams, RangeParams
from market_data.services.market_price import PriceQuery

ENVELOPE_DEFAULT = 1000
MAXIMUM = {"json": 1_000_000}
MAXIMUM_OTHERS = 100_000


@dataclass(frozen=True, slots=True)
class PriceRequest:
    """Bars wanted, in a format."""

    query: PriceQuery
    encoder: type[Encoder]


def range_request(params: RangeParams, wanted: Wanted, accept: str | None) -> PriceRequest:
    """Read a request for bars of a range.

    Raises:
        InvalidInput: what is asked contradicts itself or a limit.
        NotAcceptable: no accepted media type can be produced.

    """
    encoder = choose(params.format, accept)
    require_range(params.start, params.end)
    query = PriceQuery(
        symbols=wanted.symbols,
        ids=wanted.ids,
        interval=params.interval,
        start=params.start,
        end=params.end,
        source=params.source,
        basis=params.basis,
        sort=params.sort,
        limit=_limit(encoder, params.limit),
        page_token=params.page_token,
        all_known=not encoder.envelope,
    )
    return PriceRequest(query, encoder)


def price_request(params: PriceParams, accept: str | None) -> PriceRequest:
    """Read `GET /prices`; raises like `range_request`."""
    return range_request(params, wanted_of(params.symbols, params.instrument_ids), accept)


def latest_request(params: LatestParams, accept: str | None) -> PriceRequest:
    """Read `GET /prices/latest`; raises like `range_request`."""
    wanted = wanted_of(params.symbols, params.instrument_ids)
    encoder = choose(params.format, accept)
    query = PriceQuery(
        symbols=wanted.symbols,
        ids=wanted.ids,
        interval=params.interval,
        source=params.source,
        basis=params.basis,
        latest=True,
        all_known=not encoder.envelope,
    )
    return PriceRequest(query, encoder)


def _limit(encoder: type[Encoder], limit: int | None) -> int | None:
    if limit is None:
        return ENVELOPE_DEFAULT if encoder.envelope else None
    maximum = MAXIMUM.get(encoder.name, MAXIMUM_OTHERS)
    if limit > maximum:
        raise InvalidInput("limit", f"at most {maximum} in {encoder.name}, not {limit}")
    return limit
