"""Sealed columns answer like the rows they were built from, whatever happens to those afterwards."""

import asyncio
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from market_data.core.bars import Bars
from market_data.core.interval import Basis, Interval
from market_data.core.vocabulary import SortOrder
from market_data.db import migrations
from market_data.db.session import Database
from market_data.repositories.market_price import SeriesRange
from market_data.repositories.market_price_writer import BarWriter, SeriesKey
from market_data.repositories.price_block import PriceBlockRepository
from market_data.services.instrument import InstrumentService
from market_data.services.sealing import SealingService
from tests.support.bars import add_instruments, assert_figures_recount, bars, fetch, upsert
from tests.support.reading import block_states, read, stored

DAY, MINUTE, HOUR = timedelta(days=1), timedelta(minutes=1), timedelta(hours=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_MONDAY = datetime(1970, 1, 5, tzinfo=UTC)
EDGES = dict.fromkeys(Interval, (-1440, 0, 1440))
"""Bars from 1970 to the first bar of a block."""
EDGES[Interval.MO1] = (-1466, 0, 1467)  # 1440 times 31 days: 1847-10-13 and 2092-03-21


def stamp(interval: Interval, place: int) -> datetime:
    """Return one of fifteen starts of bars, five around each of three edges of blocks."""
    number = EDGES[interval][place // 5] + place % 5 - 2
    if interval is Interval.MO1:
        year, month = divmod(1970 * 12 + number, 12)
        return datetime(year, month + 1, 1, tzinfo=UTC)
    origin = FIRST_MONDAY if interval is Interval.W1 else EPOCH
    span = {Interval.M1: MINUTE, Interval.H4: 4 * HOUR, Interval.D1: DAY, Interval.W1: 7 * DAY}[interval]
    return origin + number * span


def around(rows: dict[datetime, int]) -> Bars:
    """Bars around a close in cents, or in thirds, which no decimals tell; some without volume."""
    stamps = sorted(rows)
    close = np.array([rows[one] / (3 if rows[one] % 2 else 100) for one in stamps])
    volume = np.array([np.nan if rows[one] % 3 == 0 else float(rows[one]) for one in stamps])
    ts = np.array([one.replace(tzinfo=None) for one in stamps], "datetime64[us]")
    return Bars(ts, close - 0.25, close + 0.5, close - 0.5, close, volume)


async def fresh_keys(database, interval: Interval, count: int = 1) -> tuple[list[SeriesKey], list[int]]:
    """Add instruments, each with a series without bars."""
    insert = (
        "INSERT INTO instrument (symbol, exchange, asset_class, currency) "
        "SELECT 'N' || (SELECT count(*) FROM instrument) + n, 'X', 'equity', 'USD' "
        "FROM generate_series(1, :count) n RETURNING id"
    )
    async with database.session() as session:
        found = list((await session.execute(text(insert), {"count": count})).scalars())
    keys = [SeriesKey(one, interval, "api", Basis.RAW) for one in found]
    await upsert(database, {key: Bars.empty() for key in keys})
    ids = await fetch(database, f"SELECT id FROM series WHERE instrument_id >= {found[0]} ORDER BY id")
    return keys, [row[0] for row in ids]


async def delete(database, interval, series_id, start=None, end=None) -> int:
    async with database.session() as session:
        return await BarWriter(session).delete(interval, [series_id], start, end)


_places = st.integers(0, 14)
_puts = st.tuples(st.just("put"), st.integers(0, 1), st.dictionaries(_places, st.integers(1, 9), min_size=1))
_deletes = st.tuples(st.just("delete"), st.integers(0, 1), st.tuples(_places, _places).map(sorted))
_seals = st.tuples(st.just("seal"), st.none(), st.none())
_questions = st.fixed_dictionaries(
    {
        "start": st.none() | _places,
        "end": st.none() | _places,
        "sort": st.sampled_from(list(SortOrder)),
        "limit": st.none() | st.integers(1, 31),
    }
)


async def apply(database, interval, keys, ids, change) -> None:
    name, which, what = change
    if name == "put":
        await upsert(database, {keys[which]: around({stamp(interval, p): c for p, c in what.items()})})
    elif name == "delete":
        await delete(database, interval, ids[which], *(stamp(interval, place) for place in what))
    else:
        await SealingService(database).seal()


async def assert_answers(database, interval, ids, question) -> None:
    start, end = (None if question[n] is None else stamp(interval, question[n]) for n in ("start", "end"))
    ranges = [SeriesRange(7, ids[1], start, end), SeriesRange(3, ids[0], start, end), SeriesRange(9, ids[1])]
    asked = {"sort": question["sort"], "limit": question["limit"]}
    assert await read(database, interval, ranges, **asked) == await stored(database, ranges, **asked)


@pytest.mark.parametrize("interval", [Interval.M1, Interval.D1, Interval.W1, Interval.MO1])
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    history=st.lists(st.one_of(_puts, _puts, _deletes, _seals), min_size=2, max_size=10),
    questions=st.lists(_questions, min_size=2, max_size=2),
)
async def test_columns_answer_like_rows_after_any_history(database, interval, history, questions):
    keys, ids = await fresh_keys(database, interval, 2)
    for change in [*history, ("seal", None, None)]:
        await apply(database, interval, keys, ids, change)
        for question in questions:
            await assert_answers(database, interval, ids, question)
    assert all(sealed for _, sealed in await block_states(database))
    await assert_figures_recount(database)


@pytest.fixture
async def sealed(database):
    """A series with three days in each of the blocks -1, 0 and 1, all of them sealed."""
    (key,), (series,) = await fresh_keys(database, Interval.D1)
    days = [EPOCH + n * DAY for n in (-5, -3, -1, 0, 2, 4, 1440, 1442, 1444)]
    await upsert(database, {key: bars({one: float(n + 1) for n, one in enumerate(days)})})
    assert await SealingService(database).seal() == 3
    assert await block_states(database) == [(-1, True), (0, True), (1, True)]
    return key, series


async def closes(database, series, **options) -> list[float]:
    return [row[5] for row in await read(database, Interval.D1, [SeriesRange(0, series)], **options)]


async def test_what_was_sealed_is_read_from_its_columns(database, sealed):
    async with database.engine.begin() as connection:
        await connection.execute(text("DELETE FROM market_price_daily"))
    assert await closes(database, sealed[1]) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]


@pytest.mark.parametrize("sort", SortOrder)
async def test_a_corrected_bar_is_seen_by_the_next_read(database, sealed, sort):
    key, series = sealed
    await upsert(database, {key: bars({EPOCH + 2 * DAY: 50.0})})
    assert await block_states(database) == [(-1, True), (0, False), (1, True)]
    expected = [1.0, 2.0, 3.0, 4.0, 50.0, 6.0, 7.0, 8.0, 9.0]
    turn = 1 if sort is SortOrder.ASC else -1
    assert await closes(database, series, sort=sort) == expected[::turn]
    assert await closes(database, series, sort=sort, limit=5) == expected[::turn][:5]


async def test_a_deleted_bar_is_seen_by_the_next_read(database, sealed):
    assert await delete(database, Interval.D1, sealed[1], EPOCH - 3 * DAY, EPOCH - 2 * DAY) == 1
    assert await block_states(database) == [(-1, False), (0, True), (1, True)]
    assert await closes(database, sealed[1]) == [1.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]


async def test_an_added_bar_is_seen_by_the_next_read(database, sealed):
    key, series = sealed
    await upsert(database, {key: bars({EPOCH + 1441 * DAY: 75.0, EPOCH + 2880 * DAY: 99.0})})
    assert await block_states(database) == [(-1, True), (0, True), (1, False), (2, False)]
    assert await closes(database, series) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 75.0, 8.0, 9.0, 99.0]


async def test_equal_bars_open_no_block(database, sealed):
    key, _ = sealed
    await upsert(database, {key: bars({EPOCH: 4.0, EPOCH + 2 * DAY: 5.0})})
    assert await delete(database, Interval.D1, sealed[1], EPOCH + DAY, EPOCH + 2 * DAY) == 0
    assert await block_states(database) == [(-1, True), (0, True), (1, True)]
    assert await SealingService(database).seal() == 0


async def test_a_block_without_bars_is_sealed_and_read_as_nothing(database, sealed):
    assert await delete(database, Interval.D1, sealed[1], EPOCH, EPOCH + 1440 * DAY) == 3
    assert await SealingService(database).seal() == 1
    assert await block_states(database) == [(-1, True), (0, True), (1, True)]
    assert await closes(database, sealed[1]) == [1.0, 2.0, 3.0, 7.0, 8.0, 9.0]
    assert await closes(database, sealed[1], sort=SortOrder.DESC, limit=4) == [9.0, 8.0, 7.0, 3.0]
    assert await delete(database, Interval.D1, sealed[1]) == 6
    await SealingService(database).seal()
    assert await closes(database, sealed[1]) == []


async def test_a_block_that_changed_since_it_was_read_is_not_sealed(database, sealed):
    key, series = sealed
    await upsert(database, {key: bars({EPOCH: 40.0, EPOCH + 1440 * DAY: 70.0})})
    async with database.session() as session:
        index = PriceBlockRepository(session)
        found = await index.list_open(Interval.D1, timedelta(0), limit=9, after=(0, 0))
        assert [(one.number, one.bars.close.tolist()) for one in found] == [
            (0, [40.0, 5.0, 6.0]),
            (1, [70.0, 8.0, 9.0]),
        ]
        await upsert(database, {key: bars({EPOCH: 41.0})})
        await index.seal(found, [one.columns() for one in found])
    assert await block_states(database) == [(-1, True), (0, False), (1, True)]
    assert await closes(database, series) == [1.0, 2.0, 3.0, 41.0, 5.0, 6.0, 70.0, 8.0, 9.0]


async def test_a_block_that_a_writer_holds_is_not_sealed(database, sealed):
    key, series = sealed
    await upsert(database, {key: bars({EPOCH: 40.0})})
    async with database.session() as session:
        await BarWriter(session).upsert({key: bars({EPOCH: 41.0})}, 1)
        await SealingService(database).seal()  # it does not wait for the writer
        assert await closes(database, series, limit=4) == [1.0, 2.0, 3.0, 40.0]
    assert await block_states(database) == [(-1, True), (0, False), (1, True)]
    assert await closes(database, series, limit=4) == [1.0, 2.0, 3.0, 41.0]


async def test_blocks_that_changed_lately_are_left(database, sealed):
    key, _ = sealed
    await upsert(database, {key: bars({EPOCH - 5 * DAY: 2.5, EPOCH: 2.5})})
    async with database.engine.begin() as connection:
        change = "UPDATE price_block SET updated_at = now() - interval '1 hour' WHERE number = 0"
        await connection.execute(text(change))
    assert await SealingService(database).seal(timedelta(minutes=90)) == 0
    assert await SealingService(database).seal(timedelta(minutes=30)) == 1
    assert await block_states(database) == [(-1, False), (0, True), (1, True)]


async def test_two_sealers_leave_the_work_to_one(database, sealed):
    key, _ = sealed
    await upsert(database, {key: bars({EPOCH: 40.0})})
    async with database.session() as session:
        assert await PriceBlockRepository(session).lock()
        assert await SealingService(database).seal() == 0
    assert await SealingService(database).seal() == 1
    await upsert(database, {key: bars({EPOCH: 41.0})})
    assert sum(await asyncio.gather(*(SealingService(database).seal() for _ in range(4)))) == 1


async def test_an_instrument_takes_its_blocks_with_it(database, sealed):
    assert len(await block_states(database)) == 3
    await InstrumentService(database).delete(sealed[0].instrument_id, cascade=True)
    assert await block_states(database) == []


OLDER = """
    INSERT INTO series (instrument_id, interval, source, basis, bar_count, first_ts, last_ts, version) VALUES
        (1, '1d', 'api', 'raw', 3, '1969-12-31Z', '1973-12-11Z', 7),
        (1, '1m', 'api', 'raw', 2, '1969-12-31 23:59Z', '1970-01-01Z', 5),
        (1, '1mo', 'api', 'raw', 2, '1847-10-01Z', '2092-04-01Z', 2);
    INSERT INTO market_price_daily SELECT 1, ts, 1, 1, 1, 1, 1, 1
        FROM unnest('{1969-12-31Z,1973-12-10Z,1973-12-11Z}'::timestamptz[]) ts;
    INSERT INTO market_price_daily SELECT 3, ts, 3, 3, 3, 3, 3, 1
        FROM unnest('{1847-10-01Z,2092-04-01Z}'::timestamptz[]) ts;
    INSERT INTO market_price_intraday SELECT 2, ts, 2, 2, 2, 2, 2, 1
        FROM unnest('{1969-12-31 23:59Z,1970-01-01 00:00Z}'::timestamptz[]) ts
    """


async def test_the_migration_gives_stored_bars_their_blocks(empty_url):
    database = Database(empty_url)
    await migrations.upgrade(database, "0002")
    await add_instruments(database)
    async with database.engine.begin() as connection:
        for statement in OLDER.split(";"):
            await connection.execute(text(statement))
    await migrations.upgrade(database)
    found = await fetch(
        database, "SELECT series_id, number, version FROM price_block ORDER BY series_id, number"
    )
    assert found == [(1, -1, 7), (1, 0, 7), (1, 1, 7), (2, -1, 5), (2, 0, 5), (3, -2, 2), (3, 1, 2)]
    for _ in range(2):  # by rows, and once they are sealed
        for interval, series, count in ((Interval.D1, 1, 3), (Interval.M1, 2, 2), (Interval.MO1, 3, 2)):
            rows = await read(database, interval, [SeriesRange(0, series)])
            assert [row[5] for row in rows] == [float(series)] * count
        await SealingService(database).seal()
    await database.close()
