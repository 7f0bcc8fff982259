"""`market-data instruments`: the catalogue."""

from pathlib import Path
from typing import Annotated

import typer

from market_data.cli.bulk import load_all, rows_of
from market_data.cli.catalogue import PAGE, every, find_one
from market_data.cli.groups import ListGroup
from market_data.cli.options import Json, Which, checked
from market_data.cli.output import FAILED, print_fields, print_json, print_rows
from market_data.cli.running import opened, run_async
from market_data.core.exceptions import InvalidInput
from market_data.core.vocabulary import AssetClass
from market_data.models import Instrument
from market_data.repositories.instrument import InstrumentFilter
from market_data.schemas.instrument import InstrumentCreate, InstrumentRead, InstrumentUpdate
from market_data.services.instrument import InstrumentService

_COLUMNS = ("id", "symbol", "exchange", "asset_class", "currency", "name", "active")


_instruments = typer.Typer(
    cls=ListGroup,
    help="The catalogue: market-data instruments [QUERY], or add, edit, load.",
    epilog="Example: market-data instruments apple",
)
app = typer.Typer()
app.add_typer(_instruments, name="instruments")

Exchange = typer.Option(help="ISO 10383 MIC or a venue code; FX for pairs.")
Currency = typer.Option(help="ISO 4217, GBX for pence, or an asset code.")
Class = typer.Option(help="What kind of thing it is.")
Name = Annotated[str | None, typer.Option(help="For people.")]
Isin = Annotated[str | None, typer.Option(help="ISO 6166.")]
Figi = Annotated[str | None, typer.Option(help="OpenFIGI identifier.")]
Zone = typer.Option(help="IANA zone of its venue.")


@_instruments.command("list", epilog="Example: market-data instruments apple --exchange XNAS")
def list_(
    query: Annotated[str | None, typer.Argument(help="Sought in symbol and name.")] = None,
    exchange: Annotated[str | None, Exchange] = None,
    asset_class: Annotated[AssetClass | None, Class] = None,
    json: Json = False,
) -> None:
    """List instruments, in order of symbol."""

    async def work() -> list[Instrument]:
        async with opened() as database:
            wanted = InstrumentFilter(text=query, exchange=exchange, asset_class=asset_class)
            service = InstrumentService(database)
            return await every(lambda token: service.list_(wanted, limit=PAGE, page_token=token))

    rows = [InstrumentRead.model_validate(one).model_dump(mode="json") for one in run_async(work)]
    print_json(rows) if json else print_rows(rows, _COLUMNS)


@_instruments.command(
    epilog="Example: market-data instruments add AAPL --exchange XNAS --asset-class equity --currency USD"
)
def add(
    symbol: Annotated[str, typer.Argument(help="As its venue writes it.")],
    exchange: Annotated[str, Exchange],
    asset_class: Annotated[AssetClass, Class],
    currency: Annotated[str, Currency],
    name: Name = None,
    isin: Isin = None,
    figi: Figi = None,
    timezone: Annotated[str, Zone] = "UTC",
    inactive: Annotated[bool, typer.Option("--inactive", help="Its symbol is no longer in use.")] = False,
    json: Json = False,
) -> None:
    """Add an instrument."""
    given = {
        "symbol": symbol,
        "exchange": exchange,
        "asset_class": asset_class,
        "currency": currency,
        "name": name,
        "isin": isin,
        "figi": figi,
        "timezone": timezone,
        "active": not inactive,
    }
    values = checked("instrument", InstrumentCreate, given).model_dump()

    async def work() -> Instrument:
        async with opened() as database:
            return await InstrumentService(database).create(values)

    _show(run_async(work), as_json=json)


@_instruments.command(epilog="Example: market-data instruments edit XNAS:AAPL --name 'Apple Inc.'")
def edit(
    which: Which,
    symbol: Annotated[str | None, typer.Option(help="As its venue writes it.")] = None,
    exchange: Annotated[str | None, Exchange] = None,
    asset_class: Annotated[AssetClass | None, Class] = None,
    currency: Annotated[str | None, Currency] = None,
    name: Name = None,
    isin: Isin = None,
    figi: Figi = None,
    timezone: Annotated[str | None, Zone] = None,
    active: Annotated[
        bool | None, typer.Option("--active/--inactive", help="Whether its symbol is in use.")
    ] = None,
    json: Json = False,
) -> None:
    """Change what is given. What bars were stored under is fixed while there are bars."""
    given = {
        "symbol": symbol,
        "exchange": exchange,
        "asset_class": asset_class,
        "currency": currency,
        "name": name,
        "isin": isin,
        "figi": figi,
        "timezone": timezone,
        "active": active,
    }
    changes = {key: value for key, value in given.items() if value is not None}
    if not changes:
        raise InvalidInput("edit", "names nothing to change; see --help")
    values = checked("instrument", InstrumentUpdate, changes).model_dump(exclude_unset=True)

    async def work() -> Instrument:
        async with opened() as database:
            service = InstrumentService(database)
            return await service.update((await find_one(service, which)).id, values)

    _show(run_async(work), as_json=json)


@_instruments.command(epilog="Example: market-data instruments load instruments.csv")
def load(
    file: Annotated[Path, typer.Argument(help="CSV, NDJSON or JSON with the fields of `instruments add`.")],
    json: Json = False,
) -> None:
    """Add or update many: an active one of the same exchange and symbol is updated."""
    counts = run_async(load_all, rows_of(file))
    if json:
        print_json(counts)
    else:
        typer.echo(", ".join(f"{count} {what}" for what, count in counts.items()))
    if counts["failed"]:
        raise typer.Exit(FAILED)


def _show(instrument: Instrument, *, as_json: bool) -> None:
    row = InstrumentRead.model_validate(instrument).model_dump(mode="json")
    print_json(row) if as_json else print_fields(row)
