"""`market-data import`: bars from files."""

import sys
from pathlib import Path
from typing import Annotated, Any, BinaryIO, cast

import typer
from rich.progress import Progress

from market_data.cli.output import (
    AllowRejections,
    Json,
    checked,
    interval_option,
    notes,
    report_run,
    run_async,
)
from market_data.core.config import get_settings
from market_data.core.exceptions import AmbiguousSymbol, InvalidInput
from market_data.core.interval import Alignment, Basis
from market_data.db.home import open_home
from market_data.db.liveness import Liveness
from market_data.db.session import Database
from market_data.etl.readers.format import FileFormat, unpacked
from market_data.etl.readers.layout import RowOptions, parse_mapping
from market_data.etl.transformers.rules import Label
from market_data.schemas.fields import Source, TimeZone
from market_data.schemas.ingestion import RunRead
from market_data.schemas.instrument import InstrumentCreate
from market_data.services.instrument import InstrumentService
from market_data.services.upload import Constants, UploadRequest, UploadService


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "import",
        epilog="Example: market-data import aapl.csv --symbol AAPL --interval 1d --map ts=Date,open=Open",
    )(import_file)


def import_file(
    file: Annotated[
        str, typer.Argument(help="CSV, NDJSON, JSON, Arrow or Parquet by its ending; - is stdin.")
    ],
    symbol: Annotated[str | None, typer.Option(help="Of all rows; else a column says it.")] = None,
    interval: Annotated[str | None, typer.Option(help="Of all rows; else a column says it.")] = None,
    source: Annotated[str, typer.Option(help="Whose bars these are.")] = "file",
    basis: Annotated[Basis, typer.Option(help="What the prices are.")] = Basis.RAW,
    timezone: Annotated[str, typer.Option(help="IANA zone of times without offset, and of dates.")] = "UTC",
    label: Annotated[Label, typer.Option(help="Which end of its bar a time names.")] = Label.START,
    align: Annotated[
        Alignment, typer.Option(help="Where intraday bars start: on the UTC grid, or counted from the open.")
    ] = Alignment.UTC,
    exchange: Annotated[str | None, typer.Option(help="Of all rows.")] = None,
    asset_class: Annotated[str | None, typer.Option(help="To add an unknown instrument.")] = None,
    currency: Annotated[str | None, typer.Option(help="To add an unknown instrument.")] = None,
    mapping: Annotated[
        str | None,
        typer.Option("--map", help="Names of the file's columns: ts=Date,open=Open,symbol=Ticker."),
    ] = None,
    ts_format: Annotated[str | None, typer.Option(help="Pattern of times, such as %d/%m/%Y.")] = None,
    file_format: Annotated[
        FileFormat | None, typer.Option("--format", help="Where the file's ending does not tell it.")
    ] = None,
    allow_rejections: AllowRejections = False,
    json: Json = False,
) -> None:
    """Store bars from a file, chunk by chunk. Safe to repeat: what is stored already is left untouched."""
    constants = Constants(
        symbol=symbol, exchange=exchange, interval=interval_option(interval) if interval else None
    )
    options = RowOptions(
        mapping=parse_mapping(mapping) if mapping else {},
        constants=constants.given(),
        timezone=checked("timezone", TimeZone, timezone),
        ts_format=ts_format,
    )
    request = UploadRequest(
        file_format=file_format or _format(file),
        options=options,
        source=checked("source", Source, source),
        basis=basis,
        alignment=align,
        label=label,
        name=Path(file).name,
    )
    attributes = {
        "exchange": exchange,
        "asset_class": asset_class,
        "currency": currency,
        "timezone": timezone,
    }
    run = run_async(_import(file, request, symbol, attributes))
    report_run(run, as_json=json, allow_rejections=allow_rejections)


def _format(file: str) -> FileFormat:
    return FileFormat.CSV if file == "-" else FileFormat.from_path(file)


async def _import(
    file: str, request: UploadRequest, symbol: str | None, attributes: dict[str, str | None]
) -> RunRead:
    async with open_home(get_settings()) as database:
        if symbol is not None:
            await _ensure_instrument(database, symbol, attributes)
        liveness = Liveness(database)
        try:
            service = UploadService(database, liveness)
            opened = sys.stdin.buffer if file == "-" else Path(file).open("rb")  # noqa: SIM115, ASYNC230 # closed below
            with opened, unpacked(cast("BinaryIO", opened), file) as stream, _progress(file) as progress:
                task = progress.add_task(Path(file).name, total=None)

                def show(rows: int) -> None:
                    progress.update(task, completed=rows, description=f"{Path(file).name}: {rows} rows")

                return RunRead.model_validate(await service.store_file(stream, request, show))
        finally:
            await liveness.close()


def _progress(file: str) -> Progress:
    return Progress(console=notes, transient=True, disable=file == "-" or not sys.stderr.isatty())


async def _ensure_instrument(database: Database, symbol: str, attributes: dict[str, str | None]) -> None:
    """Find the instrument of all rows, or add it where its attributes are given.

    Raises:
        InvalidInput: it is unknown; says how to add it.

    """
    service = InstrumentService(database)
    exchange = attributes["exchange"]
    asked = f"{exchange}:{symbol}" if exchange and ":" not in symbol else symbol
    name = (await service.name_symbols([asked], retired=False))[0]
    if name.ambiguous:
        raise AmbiguousSymbol({symbol: name.candidates})
    if name.instrument is not None:
        return
    if missing := [k for k in ("exchange", "asset_class", "currency") if attributes[k] is None]:
        options = " ".join(f"--{name.replace('_', '-')} ..." for name in missing)
        raise InvalidInput(
            "symbol",
            f"no active instrument {asked}. Add it: market-data instruments add {symbol} --exchange XNAS "
            f"--asset-class equity --currency USD; or give this command {options}",
        )
    values: Any = {"symbol": symbol, **attributes}
    created = checked("instrument", InstrumentCreate, values)
    await service.create(created.model_dump())
    notes.print(f"added instrument {exchange}:{symbol}", markup=False)
