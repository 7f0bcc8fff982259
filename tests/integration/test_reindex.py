"""`market-data db reindex`: bars that were written past this program count again, everywhere."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from market_data.core.interval import Basis, Interval
from market_data.repositories.market_price import SeriesRange
from market_data.repositories.market_price_writer import BarWriter, SeriesKey
from market_data.services.instrument import InstrumentService
from market_data.services.sealing import SealingService
from tests.support.bars import add_instruments, assert_figures_recount, bars, fetch, upsert
from tests.support.reading import block_states, read

DAY = timedelta(days=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SQL = """
    INSERT INTO market_price_daily VALUES
        (1, '1966-01-20Z', 7, 7, 7, 7, 7, 1), -- 1441 days before 1970
        (1, '1977-11-20Z', 8, 8, 8, 8, 'NaN', 1); -- 2880 days after
    UPDATE market_price_daily SET (open, high, low, close, volume) = (5, 5, 5, 5, 50)
        WHERE series_id = 1 AND ts = '1970-01-01Z';
    DELETE FROM market_price_daily WHERE series_id = 1 AND ts IN ('1969-12-31Z', '1973-12-11Z');
    DELETE FROM market_price_intraday WHERE series_id = 2
    """


@pytest.fixture
async def written(database):
    """Series 1 with four days in blocks -1, 0 and 1, series 2 with an hour, series 3 with a month; sealed."""
    intervals = (Interval.D1, Interval.H1, Interval.MO1)
    keys = [
        SeriesKey(instrument, interval, "api", Basis.RAW)
        for instrument, interval in zip(await add_instruments(database, 3), intervals, strict=True)
    ]
    days = {EPOCH - DAY: 1.0, EPOCH: 2.0, EPOCH + DAY: 3.0, EPOCH + 1440 * DAY: 4.0}
    for key, rows in zip(keys, (days, {EPOCH: 1.0}, {EPOCH: 1.0}), strict=True):
        await upsert(database, {key: bars(rows)})
    assert await SealingService(database).seal() == 5
    return keys


async def versions(database) -> dict[tuple, int]:
    found = await fetch(
        database,
        "SELECT id, NULL, version FROM series UNION ALL SELECT series_id, number, version FROM price_block",
    )
    return {(series, number): version for series, number, version in found}


async def write_past(database) -> None:
    async with database.engine.begin() as connection:
        for statement in SQL.split(";"):
            await connection.execute(text(statement))


async def test_bars_of_plain_sql_are_counted_and_answered(database, written):
    before = await versions(database)
    await write_past(database)
    service = SealingService(database)
    told = []
    assert await service.reindex(lambda *progress: told.append(progress)) == 5
    assert told == [(1, 3, 4), (2, 3, 4), (3, 3, 5)]
    await assert_figures_recount(database)
    figures = "SELECT bar_count, first_ts::text, last_ts::text FROM series ORDER BY id"
    assert await fetch(database, figures) == [
        (4, "1966-01-20 00:00:00+00", "1977-11-20 00:00:00+00"),
        (0, None, None),
        (1, "1970-01-01 00:00:00+00", "1970-01-01 00:00:00+00"),
    ]
    assert [number for number, _ in await block_states(database)] == [-2, -1, 0, 1, 2, 0, 0]
    after = await versions(database)
    assert all(after[key] > version for key, version in before.items())
    for sealed in (False, True):
        assert {one for _, one in await block_states(database)} == {sealed}
        rows = await read(database, Interval.D1, [SeriesRange(0, 1)])
        assert [(row[5], row[6]) for row in rows] == [(7.0, 7.0), (5.0, 50.0), (3.0, 1.0), (8.0, None)]
        assert await read(database, Interval.H1, [SeriesRange(0, 2)]) == []
        assert [row[5] for row in await read(database, Interval.MO1, [SeriesRange(0, 3)])] == [1.0]
        await service.seal()


async def test_versions_only_ever_grow(database, written):
    service, key = SealingService(database), written[0]
    changes = [
        lambda: upsert(database, {key: bars({EPOCH: 9.0})}),
        service.reindex,
        service.seal,
        lambda: write_past(database),
        service.reindex,
        service.reindex,
        lambda: upsert(database, {key: bars({EPOCH + 2 * DAY: 9.0})}),
    ]
    before = await versions(database)
    for change in changes:
        await change()
        after = await versions(database)
        assert all(after[one] >= version for one, version in before.items())
        series = {number: version for (number, block), version in after.items() if block is None}
        assert all(version <= series[number] for (number, _), version in after.items())
        before = after


async def test_reindex_of_nothing(database):
    assert await SealingService(database).reindex() == 0
    assert await SealingService(database).seal() == 0


async def test_taking_bars_back_counts_what_was_written_past_the_program(written, database):
    async with database.engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO market_price_daily SELECT 1, ts + interval '1 hour' * n, 5, 5, 5, 5, 5, 1 "
                "FROM market_price_daily, generate_series(1, 3) n WHERE series_id = 1"
            )
        )
    async with database.session() as session:
        assert await BarWriter(session).delete(Interval.D1, [1], EPOCH - DAY, EPOCH + DAY) == 8
    await assert_figures_recount(database)
    async with database.session() as session:
        assert await BarWriter(session).delete(Interval.D1, [1], None, None) == 8
    await assert_figures_recount(database)


async def test_an_instrument_goes_with_all_it_has(written, database):
    raw = await database.connect()
    await raw.execute(SQL)
    await raw.close()
    for number in (1, 2, 3):
        await InstrumentService(database).delete(number, cascade=True)
    assert await fetch(database, "SELECT id FROM series") == []
    assert await fetch(database, "SELECT ts FROM market_price_daily") == []
