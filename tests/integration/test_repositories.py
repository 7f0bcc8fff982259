"""Repositories on real tables: what services do not reach, and races that cannot be staged over HTTP."""

import pytest
from sqlalchemy.exc import IntegrityError

from market_data.core.bars import Bars
from market_data.core.exceptions import ConcurrentChange, InstrumentNotFound, RunNotFound
from market_data.core.interval import Basis, Interval
from market_data.core.vocabulary import RunStatus
from market_data.models import IngestionRun, Instrument
from market_data.repositories import market_price_writer
from market_data.repositories.base import Repository
from market_data.repositories.ingestion_run import IngestionRunRepository, RunFilter
from market_data.repositories.instrument import InstrumentFilter, InstrumentRepository
from market_data.repositories.market_price_writer import BarWriter, SeriesKey


def acme(**values) -> Instrument:
    return Instrument(
        **{"symbol": "ACME", "exchange": "XNAS", "asset_class": "equity", "currency": "USD"} | values
    )


async def test_instruments_through_the_protocol(database):
    async with database.session() as session:
        instruments: Repository[Instrument, InstrumentFilter] = InstrumentRepository(session)
        created = await instruments.create(acme())
        created.name = "Acme"
        assert (await instruments.update(created)).name == "Acme"
        assert await instruments.get(created.id) is created
        assert await instruments.list_(InstrumentFilter(), limit=9, after=("ACME", 0)) == [created]
        await instruments.delete(created.id)
        session.expunge_all()
        assert await instruments.find(created.id) is None
        with pytest.raises(InstrumentNotFound, match=f"known as {created.id}"):
            await instruments.get(created.id)


async def test_runs_through_the_protocol(database):
    async with database.session() as session:
        repository = IngestionRunRepository(session)
        runs: Repository[IngestionRun, RunFilter] = repository
        run = await runs.create(IngestionRun(source="api", status=RunStatus.QUEUED, parameters={}, owner=1))
        run.error = "none so far"
        assert (await runs.update(run)).error == "none so far"
        rejection = {"symbol": None, "ts": None, "reason": "future", "detail": "", "text": ""}
        await repository.add_rejections(run.id, [rejection])
        await repository.add_rejections(run.id, [])
        assert len(await repository.list_rejections(run.id, limit=9, after=None)) == 1
        await runs.delete(run.id)
        session.expunge_all()
        assert await repository.list_rejections(run.id, limit=9, after=None) == []
        with pytest.raises(RunNotFound, match=f"run {run.id}"):
            await runs.get(run.id)


async def test_what_breaks_another_rule_than_uniqueness_is_not_called_a_duplicate(database):
    async def created():
        async with database.session() as session:
            await InstrumentRepository(session).create(acme(symbol="A B"))

    with pytest.raises(IntegrityError, match="symbol_printable"):
        await created()


async def test_a_series_deleted_between_its_making_and_its_lock(database, monkeypatch):
    monkeypatch.setattr(
        market_price_writer, "_CREATE_SERIES", "SELECT $1::int[], $2::text[], $3::text[], $4::text[]"
    )

    async def written():
        async with database.session() as session:
            instrument = await InstrumentRepository(session).create(acme())
            key = SeriesKey(instrument.id, Interval.D1, "api", Basis.RAW)
            await BarWriter(session).upsert({key: Bars.empty()}, 1)

    with pytest.raises(ConcurrentChange, match="repeat it"):
        await written()
