"""What is stored, and which of several series answers."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import timedelta

from market_data.core.interval import Basis
from market_data.db.session import Database
from market_data.repositories.price_source import StoredKey
from market_data.repositories.series import SeriesFilter, SeriesRepository, StoredSeries
from market_data.services.paging import SymbolKey, cut_page, resume

_BASES = list(Basis)


class SeriesService:
    """Each method is one unit of work."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_(
        self, wanted: SeriesFilter, *, limit: int, page_token: str | None
    ) -> tuple[list[StoredSeries], str | None]:
        """Return a page of stored series in order of symbol, and the token of the next one.

        Raises:
            InvalidPageToken: the token is damaged or another query's.

        """
        query = ("series", asdict(wanted))
        after = resume(page_token, query, SymbolKey)
        async with self._database.session() as session:
            found = await SeriesRepository(session).list_(wanted, limit=limit + 1, after=after)
        return cut_page(found, limit, query, lambda one: (one.symbol, one.id))


def preferred(
    series: Iterable[StoredKey], preference: Sequence[str], source: str | None, basis: Basis | None
) -> dict[int, StoredKey]:
    """Choose one series per instrument id: by source preference, then name, then raw before adjusted.

    Of one source and basis, the finest interval. `source` and `basis`, where given, leave only their series.
    """
    rank = {name: position for position, name in enumerate(preference)}

    def order(one: StoredKey) -> tuple[int, str, int, timedelta]:
        place = rank.get(one.source, len(rank))
        return place, one.source, _BASES.index(one.basis), one.interval.duration

    chosen: dict[int, StoredKey] = {}
    for one in sorted(series, key=order):
        if source in {None, one.source} and basis in {None, one.basis}:
            chosen.setdefault(one.instrument_id, one)
    return chosen
