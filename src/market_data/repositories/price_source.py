"""What a price query has to know before it reads bars: instruments, their series, and the version of those.

Questions that come in while one is under way are asked together, in one statement: many small requests cost
the database little more than one, and each answer is read after its question was asked.
"""

import asyncio
from collections.abc import Sequence
from contextvars import Context
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, cast

from market_data.core.interval import Basis, Interval
from market_data.db.session import Database
from market_data.repositories.market_price import BlockSpan


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A series that has bars, and what holds for the range asked for."""

    id: int
    instrument_id: int
    interval: Interval
    source: str
    basis: Basis
    version: int
    """Changes with every change in the range: that of its blocks, or of the series where the end is open."""
    updated_at: datetime | None
    """When the version came about; None where the range has never had bars."""
    is_settled: bool | None
    """Whether the range lies in sealed history; None where it has no end."""
    is_aligned: bool
    """Whether its bars start on multiples of their interval in UTC, as far as the last one tells."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An instrument and its series in the interval asked for."""

    id: int
    symbol: str
    exchange: str
    currency: str
    asset_class: str
    active: bool
    updated_at: datetime
    series: tuple[StoredKey, ...]


@dataclass(frozen=True, slots=True)
class PriceRange:
    """Bars wanted of whatever answers: start inclusive, end exclusive, aware UTC or None for open."""

    interval: Interval
    start: datetime | None = None
    end: datetime | None = None


_WANTED = """
    SELECT w.question, i.id, i.symbol, i.exchange, i.currency, i.asset_class, i.active,
        i.updated_at, s.id AS series_id, s.source, s.basis,
        CASE WHEN w.upper IS NULL THEN s.version ELSE coalesce(b.version, 0) END,
        CASE WHEN w.upper IS NULL THEN s.updated_at ELSE b.updated_at END,
        w.upper <= s.last_ts AND coalesce(b.sealed, true), extract(epoch FROM s.last_ts)::bigint % w.step = 0
    FROM unnest($1::int[], $2::{kind}[], $3::text[], $4::int[], $5::int[], $6::timestamptz[], $7::int[])
        AS w(question, key, interval, first, last, upper, step)
    """
_BLOCKS = """
    LEFT JOIN LATERAL (
        SELECT max(p.version) AS version, max(p.updated_at) AS updated_at,
            bool_and(p.sealed_version IS NOT DISTINCT FROM p.version) AS sealed
        FROM price_block p WHERE p.series_id = s.id AND p.number >= w.first AND p.number <= w.last
    ) b ON true
    """
_ITS_SERIES = "LEFT JOIN series s ON s.instrument_id = i.id AND s.interval = w.interval AND s.bar_count > 0"
_BY_SYMBOL = f"{_WANTED.format(kind='text')} JOIN instrument i ON i.symbol = w.key {_ITS_SERIES} {_BLOCKS}"
_BY_ID = f"{_WANTED.format(kind='int')} JOIN instrument i ON i.id = w.key {_ITS_SERIES} {_BLOCKS}"
_BY_SERIES = f"""
    {_WANTED.format(kind="int")} JOIN series s ON s.id = w.key AND s.interval = w.interval
    JOIN instrument i ON i.id = s.instrument_id {_BLOCKS}
    """
_EXCHANGES = """
    SELECT code FROM unnest($1::text[]) AS code WHERE EXISTS (SELECT FROM instrument WHERE exchange = code)
    """


@dataclass(frozen=True, slots=True)
class _Question:
    keys: Sequence[str] | Sequence[int]
    wanted: PriceRange


_NO_BLOCKS = BlockSpan(1, 0)
Rows = tuple[tuple[Any, ...], ...]
"""An answer of the database, as it came: equal ones mean the same."""
_Answers = list[list[tuple[Any, ...]]]


class _Lookup:
    """One kind of question, asked for everybody who has one by the time the last answer is there."""

    def __init__(self, database: Database, query: str) -> None:
        self._database = database
        self._query = query
        self._waiting: list[_Question] = []
        self._coming: asyncio.Task[_Answers] | None = None

    async def ask(self, keys: Sequence[str] | Sequence[int], wanted: PriceRange) -> Rows:
        if not self._waiting:
            # Not in the context of this request: others are answered by it too, should this one leave.
            self._coming = asyncio.create_task(self._ask_all(self._coming), context=Context())
        self._waiting.append(_Question(keys, wanted))
        number, answers = len(self._waiting) - 1, cast("asyncio.Task[_Answers]", self._coming)
        return tuple((await asyncio.shield(answers))[number])

    async def _ask_all(self, before: asyncio.Task[_Answers] | None) -> _Answers:
        if before is not None:
            await asyncio.wait({before})
        questions, self._waiting = self._waiting, []
        answers: _Answers = [[] for _ in questions]
        async with self._database.reading() as raw:
            for row in await raw.fetch(self._query, *_columns(questions)):
                answers[row[0]].append(row[1:])
        return answers


def _columns(questions: Sequence[_Question]) -> list[list[object]]:
    """Put questions into the columns of the statement, a row for each key."""
    columns: list[list[object]] = [[] for _ in range(7)]
    for number, question in enumerate(questions):
        wanted, count = question.wanted, len(question.keys)
        # Where the end is open, the version is that of the series, and no block is looked at.
        span = BlockSpan.of(wanted.interval, wanted.start, wanted.end) if wanted.end else _NO_BLOCKS
        columns[1] += question.keys
        step = wanted.interval.duration // timedelta(seconds=1)
        others = (number, str(wanted.interval), span.first, span.last, wanted.end, step)
        for place, value in zip((0, 2, 3, 4, 5, 6), others, strict=True):
            columns[place] += [value] * count
    return columns


_ID = itemgetter(0)
_SERIES = 7
"""Where in a row what is told of the series begins."""


def with_series(rows: Rows) -> Rows:
    """Return the rows that tell of a series."""
    return tuple(row for row in rows if row[_SERIES] is not None)


def is_of(row: Sequence[Any], source: str | None, basis: Basis | None) -> bool:
    """Tell whether a row tells of a series, of this source and basis where they are given."""
    series_id, its_source, its_basis = row[_SERIES : _SERIES + 3]
    return series_id is not None and source in {None, its_source} and basis in {None, its_basis}


def read_listed(interval: Interval, rows: Rows) -> list[Listed]:
    """Return the instruments and series of an answer about an interval, oldest instrument first."""
    found: dict[int, tuple[tuple[Any, ...], list[StoredKey]]] = {}
    for row in sorted(rows, key=_ID):
        _, series = found.setdefault(row[0], (row[:_SERIES], []))
        if row[_SERIES] is not None:
            series_id, source, basis, *told = row[_SERIES:]
            series.append(StoredKey(series_id, row[0], interval, source, Basis(basis), *told))
    return [Listed(*(*head, tuple(series))) for head, series in found.values()]


class PriceSourceReader:
    """Finds what answers price queries; one serves all requests of a process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._by_symbol = _Lookup(database, _BY_SYMBOL)
        self._by_id = _Lookup(database, _BY_ID)
        self._by_series = _Lookup(database, _BY_SERIES)

    async def with_symbols(self, symbols: Sequence[str], wanted: PriceRange) -> Rows:
        """Return every instrument, active or not, that has one of these symbols, oldest first."""
        return await self._by_symbol.ask(symbols, wanted)

    async def with_ids(self, ids: Sequence[int], wanted: PriceRange) -> Rows:
        """Return those of these instruments that exist."""
        return await self._by_id.ask(ids, wanted)

    async def with_series(self, ids: Sequence[int], wanted: PriceRange) -> Rows:
        """Return the instruments of those of these series that exist in the interval, with these series."""
        return await self._by_series.ask(ids, wanted)

    async def exchanges(self, codes: Sequence[str]) -> set[str]:
        """Return those of these codes that some instrument is listed on."""
        async with self._database.reading() as raw:
            return {row[0] for row in await raw.fetch(_EXCHANGES, codes)}
