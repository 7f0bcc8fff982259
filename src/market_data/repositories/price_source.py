"""What a price query has to know before it reads bars: instruments and their series, in one statement."""

from collections.abc import Sequence
from dataclasses import dataclass

from market_data.core.interval import Basis, Interval
from market_data.db.session import Raw


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A series that has bars."""

    id: int
    instrument_id: int
    source: str
    basis: Basis


@dataclass(frozen=True, slots=True)
class Listed:
    """An instrument and its series in the interval asked for."""

    id: int
    symbol: str
    exchange: str
    currency: str
    active: bool
    series: tuple[StoredKey, ...]


_LISTED = """
    SELECT i.id, i.symbol, i.exchange, i.currency, i.active, s.id AS series_id, s.source, s.basis
    FROM instrument i
    LEFT JOIN series s ON s.instrument_id = i.id AND s.interval = $2 AND s.bar_count > 0
    """
_BY_SYMBOL = _LISTED + "WHERE i.symbol = ANY($1::text[]) ORDER BY i.id"
_BY_ID = _LISTED + "WHERE i.id = ANY($1::int[]) ORDER BY i.id"
_SERIES = "SELECT id, instrument_id, source, basis FROM series WHERE id = ANY($1::int[]) AND interval = $2"
_EXCHANGES = """
    SELECT code FROM unnest($1::text[]) AS code WHERE EXISTS (SELECT FROM instrument WHERE exchange = code)
    """


class PriceSourceReader:
    """Finds what answers a price query, over a reading connection."""

    def __init__(self, raw: Raw) -> None:
        self._raw = raw

    async def with_symbols(self, symbols: Sequence[str], interval: Interval) -> list[Listed]:
        """Return every instrument, active or not, that has one of these symbols, oldest first."""
        return await self._listed(_BY_SYMBOL, symbols, interval)

    async def with_ids(self, ids: Sequence[int], interval: Interval) -> list[Listed]:
        """Return those of these instruments that exist."""
        return await self._listed(_BY_ID, ids, interval)

    async def _listed(self, query: str, wanted: Sequence[object], interval: Interval) -> list[Listed]:
        found: dict[int, tuple[tuple[int, str, str, str, bool], list[StoredKey]]] = {}
        for *instrument, series_id, source, basis in await self._raw.fetch(query, wanted, str(interval)):
            head = tuple(instrument)
            _, series = found.setdefault(head[0], (head, []))
            if series_id is not None:
                series.append(StoredKey(series_id, head[0], source, Basis(basis)))
        return [Listed(*head, tuple(series)) for head, series in found.values()]

    async def series(self, ids: Sequence[int], interval: Interval) -> dict[int, StoredKey]:
        """Return those of these series of the interval that exist, by id."""
        rows = await self._raw.fetch(_SERIES, ids, str(interval))
        return {row[0]: StoredKey(row[0], row[1], row[2], Basis(row[3])) for row in rows}

    async def exchanges(self, codes: Sequence[str]) -> set[str]:
        """Return those of these codes that some instrument is listed on."""
        return {row[0] for row in await self._raw.fetch(_EXCHANGES, codes)}
