"""Ingest the bundled sample once, through the same services as everything else."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from market_data.core.interval import Basis, Interval
from market_data.core.vocabulary import AssetClass
from market_data.db.liveness import Liveness
from market_data.db.session import Database
from market_data.etl import sample
from market_data.etl.readers.format import FileFormat
from market_data.etl.registry import open_client
from market_data.models import IngestionRun
from market_data.repositories.ingestion_run import IngestionRunRepository
from market_data.repositories.instrument import InstrumentRepository
from market_data.services.ingestion import IngestionService, IngestRequest
from market_data.services.instrument import InstrumentService
from market_data.services.judging import UploadRequest
from market_data.services.subscription import SubscriptionRequest, SubscriptionService
from market_data.services.upload import UploadService

Say = Callable[[str], None]


async def ingest_sample(database: Database, say: Say) -> None:
    """Store about 40 currencies against the euro since 1999, and five US stocks until 2013.

    A sample that was stored before is left alone, so that corrections made since then stay.

    Raises:
        ConfigurationError: the sample's packages are not installed.

    """
    edition = sample.sample_version()
    liveness = Liveness(database)
    try:
        for source, ingest in (("ecb", _rates), (sample.STOCK_SOURCE, _stocks)):
            label = f"sample of {edition}"
            async with database.session() as session:
                done = await IngestionRunRepository(session).find_finished(source, label)
            if done is not None:
                say(f"sample {source}: stored by run {done.id} before, 0 bars written")
                continue
            run = await ingest(database, liveness, label)
            say(
                f"sample {source}: {run.status}, {run.inserted} inserted, {run.updated} updated, "
                f"{run.unchanged} unchanged, {run.rejected} rejected"
            )
    finally:
        await liveness.close()


async def _rates(database: Database, liveness: Liveness, label: str) -> IngestionRun:
    service = IngestionService(database, liveness, partial(open_client, transport=sample.rates_transport()))
    request = IngestRequest(
        provider="ecb", symbols=tuple(sample.rate_symbols()), end=sample.rates_end(), label=label
    )
    run = await service.ingest(request)
    await SubscriptionService(database).subscribe(
        SubscriptionRequest(
            provider="ecb",
            symbols=sample.KEPT,
            intervals=[Interval.D1],
            since=datetime(1999, 1, 4, tzinfo=UTC),
            watchlist="sample",
        )
    )
    return run


async def _stocks(database: Database, liveness: Liveness, label: str) -> IngestionRun:
    ids = {stock.symbol: await _instrument(database, stock) for stock in sample.STOCKS}
    request = UploadRequest(
        file_format=FileFormat.CSV,
        options=sample.STOCK_OPTIONS,
        source=sample.STOCK_SOURCE,
        basis=Basis.RAW,
        name=label,
    )
    return await UploadService(database, liveness).store_file(sample.stocks_csv(ids), request)


async def _instrument(database: Database, stock: sample.Stock) -> int:
    """Find or add a stock of the past: inactive, because its symbol may mean something else today."""
    async with database.session() as session:
        instruments = InstrumentRepository(session)
        settled = await instruments.find_by_provider_symbol(sample.STOCK_SOURCE, stock.symbol)
    if settled is not None:
        return settled.id
    created = await InstrumentService(database).create(
        {
            "symbol": stock.symbol,
            "exchange": stock.exchange,
            "asset_class": AssetClass.EQUITY,
            "currency": "USD",
            "name": stock.name,
            "timezone": "America/New_York",
            "active": False,
        }
    )
    async with database.session() as session:
        await InstrumentRepository(session).settle_provider_symbol(
            sample.STOCK_SOURCE, stock.symbol, created.id
        )
    return created.id
