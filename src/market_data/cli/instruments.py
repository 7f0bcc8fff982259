"""`market-data instruments` and `market-data series`: the catalogue."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import polars as pl
import typer
from typer.core import TyperGroup

from market_data.cli.output import (
    FAILED,
    Json,
    checked,
    complain,
    interval_option,
    print_json,
    print_rows,
    run_async,
)
from market_data.core.config import get_settings
from market_data.core.exceptions import AmbiguousSymbol, InstrumentNotFound, InvalidInput, UnsupportedFormat
from market_data.db.home import open_home
from market_data.models import Instrument
from market_data.repositories.instrument import InstrumentFilter
from market_data.repositories.series import SeriesFilter, StoredSeries
from market_data.schemas.instrument import InstrumentCreate, InstrumentRead, InstrumentUpdate
from market_data.schemas.series import SeriesRead
from market_data.services.instrument import InstrumentService
from market_data.services.series import SeriesService

_PAGE = 1000
_COLUMNS = ("id", "symbol", "exchange", "asset_class", "currency", "name", "active")


class _QueryGroup(TyperGroup):
    """`instruments apple` lists; `instruments add ...` adds."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands:
            args = ["list", *args]
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not any(one in {"-h", "--help"} for one in args) and (not args or args[0].startswith("-")):
            args = ["list", *args]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed


_app = typer.Typer(
    cls=_QueryGroup,
    help="The catalogue: market-data instruments [QUERY], or add, edit, load.",
    epilog="Example: market-data instruments apple",
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(_app, name="instruments")
    app.command(epilog="Example: market-data series EURUSD")(series)


@_app.command("list", epilog="Example: market-data instruments apple")
def list_(
    query: Annotated[str | None, typer.Argument(help="Sought in symbol and name.")] = None,
    json: Json = False,
) -> None:
    """List instruments, in order of symbol."""

    async def work() -> list[Instrument]:
        async with open_home(get_settings()) as database:
            found: list[Instrument] = []
            token: str | None = None
            while True:
                page, token = await InstrumentService(database).list_(
                    InstrumentFilter(text=query), limit=_PAGE, page_token=token
                )
                found += page
                if token is None:
                    return found

    rows = [InstrumentRead.model_validate(one).model_dump(mode="json") for one in run_async(work())]
    print_json(rows) if json else print_rows(rows, _COLUMNS)


@_app.command(
    epilog="Example: market-data instruments add AAPL --exchange XNAS --asset-class equity --currency USD"
)
def add(
    symbol: Annotated[str, typer.Argument(help="As its venue writes it.")],
    exchange: Annotated[str, typer.Option(help="ISO 10383 MIC or a venue code; FX for pairs.")],
    asset_class: Annotated[str, typer.Option(help="equity etf index fx crypto future fund rate")],
    currency: Annotated[str, typer.Option(help="ISO 4217, GBX for pence, or an asset code.")],
    name: Annotated[str | None, typer.Option(help="For people.")] = None,
    isin: Annotated[str | None, typer.Option(help="ISO 6166.")] = None,
    figi: Annotated[str | None, typer.Option(help="OpenFIGI identifier.")] = None,
    timezone: Annotated[str, typer.Option(help="IANA zone of its venue.")] = "UTC",
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
    values = _valid(InstrumentCreate, given).model_dump()

    async def work() -> Instrument:
        async with open_home(get_settings()) as database:
            return await InstrumentService(database).create(values)

    _show(run_async(work()), as_json=json)


@_app.command(epilog="Example: market-data instruments edit XNAS:AAPL --name 'Apple Inc.'")
def edit(
    which: Annotated[str, typer.Argument(metavar="SYMBOL|ID", help="symbol, exchange:symbol, or id")],
    symbol: Annotated[str | None, typer.Option()] = None,
    exchange: Annotated[str | None, typer.Option()] = None,
    asset_class: Annotated[str | None, typer.Option()] = None,
    currency: Annotated[str | None, typer.Option()] = None,
    name: Annotated[str | None, typer.Option()] = None,
    isin: Annotated[str | None, typer.Option()] = None,
    figi: Annotated[str | None, typer.Option()] = None,
    timezone: Annotated[str | None, typer.Option()] = None,
    active: Annotated[bool | None, typer.Option("--active/--inactive")] = None,
    json: Json = False,
) -> None:
    """Change what is named. What bars were stored under is fixed while there are bars."""
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
    values = _valid(InstrumentUpdate, changes).model_dump(exclude_unset=True)

    async def work() -> Instrument:
        async with open_home(get_settings()) as database:
            service = InstrumentService(database)
            return await service.update((await find_one(service, which)).id, values)

    _show(run_async(work()), as_json=json)


async def find_one(service: InstrumentService, which: str) -> Instrument:
    """Return the instrument that a symbol, exchange:symbol or id names.

    Raises:
        InstrumentNotFound: none.
        AmbiguousSymbol: several.

    """
    name = (await service.name_symbols([which]))[0]
    if name.instrument is None and not name.ambiguous and which.isascii() and which.isdigit():
        name = (await service.name_ids([int(which)]))[0]
    if name.ambiguous:
        raise AmbiguousSymbol({which: name.candidates})
    if name.instrument is None:
        raise InstrumentNotFound([which])
    return name.instrument


@_app.command(epilog="Example: market-data instruments load instruments.csv")
def load(
    file: Annotated[Path, typer.Argument(help="CSV, NDJSON or JSON with the fields of `instruments add`.")],
    json: Json = False,
) -> None:
    """Add or update many: an active one of the same exchange and symbol is updated."""
    rows = _rows(file)

    async def work() -> dict[str, int]:
        counts = {"added": 0, "updated": 0, "unchanged": 0, "failed": 0}
        async with open_home(get_settings()) as database:
            service = InstrumentService(database)
            for number, row in enumerate(rows, 1):
                try:
                    counts[await _load_one(service, row)] += 1
                except InvalidInput as error:
                    counts["failed"] += 1
                    complain(f"row {number}: {error}")
        return counts

    counts = run_async(work())
    if json:
        print_json(counts)
    else:
        typer.echo(", ".join(f"{count} {what}" for what, count in counts.items()))
    if counts["failed"]:
        raise typer.Exit(FAILED)


async def _load_one(service: InstrumentService, row: dict[str, Any]) -> str:
    values = _valid(InstrumentCreate, row)
    named = await service.name_symbols([f"{values.exchange}:{values.symbol}"], retired=False)
    found = named[0].instrument
    if found is None:
        await service.create(values.model_dump())
        return "added"
    before = found.updated_at
    after = await service.update(found.id, values.model_dump(exclude_unset=True))
    return "unchanged" if after.updated_at == before else "updated"


def _rows(file: Path) -> list[dict[str, Any]]:
    suffix = file.suffix.lower()
    try:
        if suffix == ".csv":
            table = pl.read_csv(file, infer_schema=False)
            return [{k: v for k, v in row.items() if v is not None} for row in table.iter_rows(named=True)]
        if suffix in {".ndjson", ".jsonl"}:
            return msgspec.json.Decoder(dict[str, Any]).decode_lines(file.read_bytes())
        if suffix == ".json":
            return msgspec.json.decode(file.read_bytes(), type=list[dict[str, Any]])
    except (msgspec.DecodeError, pl.exceptions.PolarsError) as error:
        raise InvalidInput("file", f"{file} cannot be read: {error}") from None
    raise UnsupportedFormat(f"{file}: use .csv, .ndjson or .json")


def _valid(model: Any, values: dict[str, Any]) -> Any:
    return checked("instrument", model, values)


def _show(instrument: Instrument, *, as_json: bool) -> None:
    row = InstrumentRead.model_validate(instrument).model_dump(mode="json")
    print_json(row) if as_json else print_rows([row], _COLUMNS)


def series(
    symbol: Annotated[str | None, typer.Argument(help="Only this one: symbol or exchange:symbol.")] = None,
    interval: Annotated[str | None, typer.Option()] = None,
    source: Annotated[str | None, typer.Option()] = None,
    json: Json = False,
) -> None:
    """Show what is stored: interval, source, basis, first, last, count."""

    async def work() -> list[StoredSeries]:
        async with open_home(get_settings()) as database:
            ids = None
            if symbol is not None:
                ids = await InstrumentService(database).ids_of([symbol])
            wanted = SeriesFilter(
                instrument_ids=ids, interval=interval_option(interval) if interval else None, source=source
            )
            found: list[StoredSeries] = []
            token: str | None = None
            while True:
                page, token = await SeriesService(database).list_(wanted, limit=_PAGE, page_token=token)
                found += page
                if token is None:
                    return found

    rows = [SeriesRead.model_validate(one).model_dump(mode="json") for one in run_async(work())]
    columns = ("symbol", "exchange", "interval", "source", "basis", "first", "last", "count")
    print_json(rows) if json else print_rows(rows, columns)
