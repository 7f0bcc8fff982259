"""Services without a database: which series answers, what a page tells, how formats are chosen."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_data.api.encoders import ENCODERS
from market_data.api.negotiation import choose
from market_data.api.problems import NotAcceptable
from market_data.core.bars import Bars
from market_data.core.exceptions import InvalidInput
from market_data.core.interval import Basis, Interval
from market_data.core.vocabulary import SortOrder
from market_data.repositories.market_price import BarBlock, SeriesRange
from market_data.repositories.price_source import PriceRange
from market_data.services.naming import Named, name_symbols, possible_exchanges, possible_symbols
from market_data.services.paging import decode_token
from market_data.services.price_page import Cursor, PricePage
from market_data.services.series import preferred


@dataclass
class Stored:
    id: int
    instrument_id: int
    source: str
    basis: Basis = Basis.RAW
    version: int = 1
    interval: Interval = Interval.D1


@dataclass
class Listed:
    id: int
    symbol: str = "A"
    exchange: str = "X"
    active: bool = True
    currency: str = "USD"


START = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

STORED = [
    Stored(1, 1, "zeta"),
    Stored(2, 1, "alpha", Basis.SPLIT_DIVIDEND),
    Stored(3, 1, "alpha", Basis.SPLIT),
    Stored(4, 1, "yahoo", Basis.SPLIT),
    Stored(5, 2, "zeta"),
]


@pytest.mark.parametrize(
    ("preference", "source", "basis", "chosen"),
    [
        ((), None, None, {1: 3, 2: 5}),
        (("yahoo", "alpha"), None, None, {1: 4, 2: 5}),
        (("nobody",), None, None, {1: 3, 2: 5}),
        (("yahoo",), "alpha", None, {1: 3}),
        (("yahoo",), None, Basis.RAW, {1: 1, 2: 5}),
        (("yahoo",), "alpha", Basis.SPLIT_DIVIDEND, {1: 2}),
        ((), "alpha", Basis.RAW, {}),
    ],
)
def test_one_series_answers(preference, source, basis, chosen):
    for stored in (STORED, STORED[::-1]):
        found = preferred(stored, preference, source, basis)
        assert {number: one.id for number, one in found.items()} == chosen


def test_names():
    listed = [Listed(1, "A", "X"), Listed(2, "A", "Y", active=False), Listed(3, "B", "X", active=False)]
    listed += [Listed(4, "C", "X"), Listed(5, "C", "Y"), Listed(6, "X:A", "Z")]
    texts = ["A", "Y:A", "B", "C", "Y:C", "X:A", "Q:A", "nobody"]
    assert possible_exchanges(texts) == ["Q", "X", "Y"]
    assert possible_symbols(texts) == ["A", "B", "C", "Q:A", "X:A", "Y:A", "Y:C", "nobody"]
    named = name_symbols(texts, listed, {"X", "Y", "Z"}, retired=True)
    assert [name.asked for name in named] == texts
    assert [name.instrument and name.instrument.id for name in named] == [1, 2, 3, None, 5, 1, None, None]
    assert [name.ambiguous for name in named] == [False, False, False, True, False, False, False, False]
    assert named[3].candidates == ("X:C (id 4)", "Y:C (id 5)")
    assert [name.fitting for name in named] == [(1, 2), (2,), (3,), (4, 5), (5,), (1,), (), ()]
    without = name_symbols(texts, listed, {"X", "Y", "Z"}, retired=False)
    assert [name.instrument and name.instrument.id for name in without] == [
        1,
        None,
        None,
        None,
        5,
        1,
        None,
        None,
    ]


class Reader:
    """Serves numbered rows in blocks of a size, as the database would."""

    def __init__(self, counts: dict[int, int], block_rows: int) -> None:
        self._counts = counts
        self._block_rows = block_rows

    async def latest(self, interval, ranges):
        for wanted in ranges:
            if count := self._counts[wanted.series_id]:
                at = SeriesRange(wanted.position, wanted.series_id, START + (count - 1) * MICROSECOND)
                async for block in self.stream(interval, [at], sort=SortOrder.ASC, limit=None):
                    yield block

    async def stream(self, interval, ranges, *, sort, limit):
        assert (interval, sort) == (Interval.D1, SortOrder.ASC)
        rows = []
        for wanted in ranges:
            first = 0 if wanted.start is None else int(wanted.start.timestamp() * 1e6)
            rows += [(wanted.position, ts) for ts in range(first, self._counts[wanted.series_id])]
        rows = rows[:limit]
        for start in range(0, len(rows), self._block_rows):
            part = rows[start : start + self._block_rows]
            column = np.ones(len(part))
            stamps = np.array([ts for _, ts in part]).astype("datetime64[us]")
            yield BarBlock(np.array([p for p, _ in part], "int32"), Bars(stamps, *[column] * 5))


def page(counts, limit, block_rows=3, cursor=None, *, latest=False):
    names = [Named(f"S{n}", None if c is None else Listed(n + 1)) for n, c in enumerate(counts)]
    series = [Stored(n + 1, n + 1, "api") if c else None for n, c in enumerate(counts)]
    return PricePage(
        reader=Reader({n + 1: c for n, c in enumerate(counts)}, block_rows),
        names=names,
        series=series,
        wanted=PriceRange(Interval.D1),
        sort=SortOrder.ASC,
        limit=limit,
        latest=latest,
        cursor=cursor,
        query="q",
    )


async def drain(one):
    rows = []
    async for block in one.blocks():
        rows += zip(block.position.tolist(), block.bars.ts.astype("int64").tolist(), strict=True)
    return rows


@given(
    st.lists(st.none() | st.integers(0, 6), min_size=1, max_size=5),
    st.integers(1, 7),
    st.integers(1, 5),
)
async def test_pages_join_to_the_whole_and_statuses_follow(counts, limit, block_rows):
    whole = [(position, ts) for position, count in enumerate(counts) for ts in range(count or 0)]
    found, cursor = [], None
    while True:
        one = page(counts, limit, block_rows, cursor)
        rows = await drain(one)
        found += rows
        summary = one.summary()
        reached = len(found)
        for position, count in enumerate(counts):
            info = summary.symbols[f"S{position}"]
            assert info.count == sum(row[0] == position for row in rows)
            done = sum(row[0] == position for row in found)
            following = [row[0] for row in whole[reached:]]
            assert info.status == expected(count, done, position, following)
        if summary.next_page_token is None:
            break
        assert len(rows) == limit
        cursor = decode_token(summary.next_page_token, "q", Cursor)
    assert found == whole


def expected(count, done, position, following):
    if count is None:
        return "not_found"
    if following and position >= following[0]:
        return "partial" if done else "pending"
    return "complete" if count else "empty"


async def test_a_page_without_limit_and_one_of_each():
    assert len(await drain(page([4, 5], None))) == 9
    latest = page([4, 0, 5], None, latest=True)
    assert await drain(latest) == [(0, 3), (2, 4)]
    assert [info.status for info in latest.summary().symbols.values()] == ["complete", "empty", "complete"]
    assert latest.summary().next_page_token is None


def test_an_ambiguous_name_is_described_as_such():
    one = page([1], 5)
    one.names = [Named("S0", None, ("X:S0 (id 1)", "Y:S0 (id 2)"))]
    info = one.describe(0)
    assert (info.status, info.instrument_id, info.currency) == ("ambiguous", None, None)


@pytest.mark.parametrize(
    ("name", "accept", "expected"),
    [
        ("csv", "application/json", "csv"),
        ("columns", None, "columns"),
        (None, None, "json"),
        (None, "", "json"),
        (None, "*/*;q=0.1, text/csv", "csv"),
        (None, "application/vnd.market-data.columns+json", "columns"),
        (None, "text/csv; q=0.5, application/json; q=0.5", "json"),
        (None, "application/*;q=0.2, application/json;q=0, text/*;q=0.1", "ndjson"),
        (None, "text/csv;charset=utf-8;q=0.9", "csv"),
    ],
)
def test_formats_are_chosen(name, accept, expected):
    assert choose(name, accept) is ENCODERS[expected]


@pytest.mark.parametrize(
    "accept", ["text/html", "text/csv;q=0", "json", ";q=1", "text/csv;q=inf", "*/*;q=0.000"]
)
def test_what_cannot_be_produced_is_refused(accept):
    with pytest.raises(NotAcceptable, match="format="):
        choose(None, accept)


def test_formats_that_do_not_exist():
    with pytest.raises(InvalidInput, match="use one of json, columns, ndjson, csv, arrow, parquet"):
        choose("xml", None)
