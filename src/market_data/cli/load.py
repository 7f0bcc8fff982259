"""`market-data import`: bars from files."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, cast

import typer

from market_data.cli.options import AllowRejections, Json, checked, interval_option
from market_data.cli.output import notes, report_run
from market_data.cli.progress import Shown
from market_data.cli.running import opened_for_runs, run_async
from market_data.core.exceptions import AmbiguousSymbol, InvalidInput
from market_data.core.interval import Alignment, Basis
from market_data.db.session import Database
from market_data.etl.readers.format import FileFormat, unpacked
from market_data.etl.readers.layout import RowOptions, parse_mapping
from market_data.etl.transformers.rules import Label
from market_data.schemas.fields import Exchange, Source, Symbol, TimeZone
from market_data.schemas.ingestion import RunRead
from market_data.schemas.instrument import InstrumentCreate
from market_data.services.instrument import InstrumentService
from market_data.services.judging import Constants, UploadRequest
from market_data.services.upload import UploadService

app = typer.Typer()
STDIN = "-"


@app.command(
    "import",
    epilog="Example: market-data import aapl.csv --symbol AAPL --interval 1d --map ts=Date,open=Open",
)
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
        FileFormat | None, typer.Option("--format", help="Where the ending does not tell; stdin is CSV.")
    ] = None,
    allow_rejections: AllowRejections = False,
    json: Json = False,
) -> None:
    """Store bars from a file, chunk by chunk. Safe to repeat: what is stored already is left untouched."""
    constants = Constants(
        symbol=None if symbol is None else checked("symbol", Symbol, symbol),
        exchange=None if exchange is None else checked("exchange", Exchange, exchange),
        interval=None if interval is None else interval_option(interval),
    )
    request = UploadRequest(
        file_format=file_format or (FileFormat.CSV if file == STDIN else FileFormat.from_path(file)),
        options=RowOptions(
            mapping=parse_mapping(mapping) if mapping else {},
            constants=constants.given(),
            timezone=checked("timezone", TimeZone, timezone),
            ts_format=ts_format,
        ),
        source=checked("source", Source, source),
        basis=basis,
        alignment=align,
        label=label,
        name="stdin" if file == STDIN else Path(file).name,
    )
    attributes = {"asset_class": asset_class, "currency": currency, "timezone": timezone}
    run = run_async(_import, file, request, constants, attributes)
    report_run(run, as_json=json, allow_rejections=allow_rejections)


async def _import(
    file: str, request: UploadRequest, constants: Constants, attributes: dict[str, str | None]
) -> RunRead:
    with _bytes_of(file) as stream, Shown() as shown:
        async with opened_for_runs() as (database, liveness):
            await _ensure_instrument(database, constants, attributes)
            run = await UploadService(database, liveness).store_file(
                stream, request, lambda rows: shown.show(request.name, f"{rows} rows")
            )
            return RunRead.model_validate(run)


@contextmanager
def _bytes_of(file: str) -> Iterator[BinaryIO]:
    if file == STDIN:
        yield cast("BinaryIO", sys.stdin.buffer)
        return
    with Path(file).open("rb") as opened, unpacked(cast("BinaryIO", opened), file) as stream:
        yield stream


async def _ensure_instrument(
    database: Database, constants: Constants, attributes: dict[str, str | None]
) -> None:
    """Find the instrument of all rows, or add it where its attributes are given.

    Raises:
        InvalidInput: it is unknown; says how to add it.
        AmbiguousSymbol: several fit.

    """
    symbol, exchange = constants.symbol, constants.exchange
    if symbol is None:
        return
    service = InstrumentService(database)
    asked = f"{exchange}:{symbol}" if exchange else symbol
    name = (await service.name_symbols([asked], retired=False))[0]
    if name.ambiguous:
        raise AmbiguousSymbol({symbol: name.candidates})
    if name.instrument is not None:
        return
    wanted = {"exchange": exchange, **attributes}
    if None in wanted.values():
        raise InvalidInput("symbol", _how_to_add(symbol, wanted))
    created = checked("instrument", InstrumentCreate, {"symbol": symbol, **wanted})
    await service.create(created.model_dump())
    notes.print(f"added instrument {exchange}:{symbol}", markup=False)


def _how_to_add(symbol: str, wanted: dict[str, str | None]) -> str:
    """Write the command that adds an instrument, with examples for what is not known of it."""
    example = {"exchange": "XNAS", "asset_class": "equity", "currency": "USD"}
    own = symbol
    if wanted["exchange"] is None and ":" in symbol:
        example["exchange"], own = symbol.split(":", 1)
    words = ["market-data", "instruments", "add", own]
    for attribute, value in wanted.items():
        if (shown := value or example[attribute]) != "UTC":
            words += [f"--{attribute.replace('_', '-')}", shown]
    missing = ", ".join(f"--{name.replace('_', '-')}" for name, value in wanted.items() if value is None)
    return (
        f"no active instrument {symbol}. Add it, with its own values: {shlex.join(words)} "
        f"(or give {missing} to this command)"
    )
