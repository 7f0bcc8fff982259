"""`market-data series`: what is stored."""

from typing import Annotated

import typer

from market_data.cli.catalogue import PAGE, every
from market_data.cli.options import Json, checked, interval_option
from market_data.cli.output import print_json, print_rows
from market_data.cli.running import opened, run_async
from market_data.repositories.series import SeriesFilter, StoredSeries
from market_data.schemas.fields import Source
from market_data.schemas.series import SeriesRead
from market_data.services.instrument import InstrumentService
from market_data.services.series import SeriesService

app = typer.Typer()
_COLUMNS = ("symbol", "exchange", "interval", "source", "basis", "first", "last", "count")


@app.command(epilog="Example: market-data series EURUSD")
def series(
    symbol: Annotated[str | None, typer.Argument(help="Only this one: symbol or exchange:symbol.")] = None,
    interval: Annotated[str | None, typer.Option(help="Only this interval.")] = None,
    source: Annotated[str | None, typer.Option(help="Only this source.")] = None,
    json: Json = False,
) -> None:
    """Show what is stored: interval, source, basis, first, last, count."""
    only = interval_option(interval) if interval else None
    whose = None if source is None else checked("source", Source, source)

    async def work() -> list[StoredSeries]:
        async with opened() as database:
            ids = None if symbol is None else await InstrumentService(database).ids_of([symbol])
            wanted = SeriesFilter(instrument_ids=ids, interval=only, source=whose)
            service = SeriesService(database)
            return await every(lambda token: service.list_(wanted, limit=PAGE, page_token=token))

    rows = [SeriesRead.model_validate(one).model_dump(mode="json") for one in run_async(work)]
    print_json(rows) if json else print_rows(rows, _COLUMNS)
