"""Readers, writers and sealers at the same time; and sealing in the background."""

import asyncio
import random
import time
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from sqlalchemy import text

from market_data.core.exceptions import DatabaseUnavailable
from market_data.core.interval import Basis, Interval
from market_data.core.vocabulary import SortOrder
from market_data.repositories.market_price import SeriesRange
from market_data.repositories.market_price_writer import SeriesKey
from market_data.services.sealing import BackgroundSealing, SealingService
from tests.support.bars import add_instruments, bars, fetch, upsert
from tests.support.reading import block_states, read

SECONDS = 1.5
MIDNIGHT = datetime(2024, 1, 2, tzinfo=UTC)
MINUTES = [MIDNIGHT + timedelta(minutes=n) for n in range(-300, 300)]
"""Half of them in the block of one day, half in that of the next."""


@pytest.fixture
async def keys(database):
    """Two series of minutes, each in two blocks and all of one value, 1."""
    found = [SeriesKey(i, Interval.M1, "api", Basis.RAW) for i in await add_instruments(database, 2)]
    await upsert(database, dict.fromkeys(found, bars(dict.fromkeys(MINUTES, 1.0))))
    return found


class Together:
    """Writers that give all bars one new value at a time, readers that must see one value, and a sealer."""

    def __init__(self, database, keys: list[SeriesKey]) -> None:
        self.database = database
        self.keys = keys
        self.end = time.monotonic() + SECONDS
        self.written = {key: [1.0] for key in keys}
        self.reads = self.sealed = 0

    @property
    def going_on(self) -> bool:
        return time.monotonic() < self.end

    async def rewrite(self, first: float, keys: list[SeriesKey]) -> None:
        value = first
        while self.going_on:
            value += 2
            for key in keys:
                self.written[key].append(value)
            await upsert(self.database, dict.fromkeys(keys, bars(dict.fromkeys(MINUTES, value))))

    async def read(self, number: int) -> None:
        chance = random.Random(number)  # noqa: S311 # for no secret
        while self.going_on:
            series = chance.randint(1, 2)
            limit = chance.choice([None, 600, 450, 5000])
            sort = chance.choice(list(SortOrder))
            seen = await read(self.database, Interval.M1, [SeriesRange(0, series)], limit=limit, sort=sort)
            values = {row[5] for row in seen}
            assert len(values) == 1, f"torn: {sorted(values)}"
            assert len(seen) == (450 if limit == 450 else 600)
            assert values <= set(self.written[self.keys[series - 1]])
            self.reads += 1

    async def read_both(self) -> None:
        """Both series are written in one transaction, so one read sees one value of both."""
        while self.going_on:
            seen = await read(self.database, Interval.M1, [SeriesRange(0, 1), SeriesRange(1, 2)])
            assert len(seen) == 1200
            assert len({row[5] for row in seen}) == 1
            self.reads += 1

    async def seal(self) -> None:
        while self.going_on:
            self.sealed += await SealingService(self.database).seal()


async def finish(*work) -> None:
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for one in work:
            group.create_task(one)


async def test_nobody_sees_half_of_what_two_writers_write(database, keys):
    all_of_them = Together(database, keys)
    await finish(
        *(all_of_them.rewrite(first, keys[n : n + 1]) for n, first in enumerate((1.0, 2.0))),
        *(all_of_them.read(number) for number in range(3)),
        all_of_them.seal(),
        all_of_them.seal(),
    )
    assert min(len(values) for values in all_of_them.written.values()) > 2
    assert all_of_them.reads > 5
    assert all_of_them.sealed > 1


async def test_nobody_sees_half_of_a_transaction_over_two_series(database, keys):
    all_of_them = Together(database, keys)
    await finish(
        all_of_them.rewrite(1.0, keys), all_of_them.read_both(), all_of_them.read_both(), all_of_them.seal()
    )
    assert len(all_of_them.written[keys[0]]) > 2
    assert all_of_them.reads > 5
    await SealingService(database).seal()
    assert [sealed for _, sealed in await block_states(database)] == [True] * 4
    last = all_of_them.written[keys[0]][-1]
    seen = await read(database, Interval.M1, [SeriesRange(0, 1), SeriesRange(1, 2)])
    assert {row[5] for row in seen} == {last}


async def all_sealed(database, count: int) -> None:
    async with asyncio.timeout(10):
        while [sealed for _, sealed in await block_states(database)] != [True] * count:
            pass


@pytest.fixture
async def in_the_background(database):
    """Sealing of what rests for 10 ms; it is stopped at the end."""
    background = BackgroundSealing(database, timedelta(milliseconds=10))
    yield background
    await background.close()


async def test_what_rests_is_sealed_by_itself(database, keys, in_the_background):
    await all_sealed(database, 4)
    await upsert(database, {keys[0]: bars({MIDNIGHT: 9.0})})
    await all_sealed(database, 4)
    seen = await read(database, Interval.M1, [SeriesRange(0, 1, MIDNIGHT)], limit=2)
    assert [row[5] for row in seen] == [9.0, 1.0]


async def test_nothing_is_sealed_by_itself_where_that_is_switched_off(database, keys):
    before = asyncio.all_tasks()
    none = BackgroundSealing(database, timedelta(0))
    assert asyncio.all_tasks() == before
    await none.close()
    assert not any(sealed for _, sealed in await block_states(database))


async def test_sealing_goes_on_once_the_database_is_back(database, keys, in_the_background):
    await all_sealed(database, 4)
    ending = (
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    for _ in range(3):
        async with database.engine.begin() as connection:
            await connection.execute(text(ending))
    await upsert(database, {keys[0]: bars({MIDNIGHT: 9.0})})
    await all_sealed(database, 4)


@pytest.mark.parametrize(
    "error",
    [DatabaseUnavailable("the database does not answer"), asyncpg.QueryCanceledError("took too long")],
    ids=["away", "cancelled"],
)
async def test_an_error_puts_sealing_off(database, keys, in_the_background, monkeypatch, error):
    seal, failed = SealingService.seal, asyncio.Event()

    async def fails_once(service, *args):
        if not failed.is_set():
            failed.set()
            raise error
        return await seal(service, *args)

    monkeypatch.setattr(SealingService, "seal", fails_once)
    async with asyncio.timeout(10):
        await failed.wait()
        await all_sealed(database, 4)


async def test_a_sealer_that_is_stopped_holds_nothing(database, keys, monkeypatch):
    begun = asyncio.Event()

    async def hang(*_):
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("market_data.repositories.price_block.PriceBlockRepository.seal", hang)
    background = BackgroundSealing(database, timedelta(milliseconds=1))
    async with asyncio.timeout(10):
        await begun.wait()
        await background.close()
    monkeypatch.undo()
    assert not any(sealed for _, sealed in await block_states(database))
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = ("
    held += "SELECT oid FROM pg_database WHERE datname = current_database())"
    async with asyncio.timeout(10):
        while await fetch(database, held) != [(0,)]:
            pass
    assert await SealingService(database).seal() == 4
