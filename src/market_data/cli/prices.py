"""`market-data prices` and `market-data delete`."""

import sys
from contextlib import aclosing
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from market_data.api.encoders import ENCODERS
from market_data.cli.instruments import find_one
from market_data.cli.output import (
    Json,
    checked,
    instant_option,
    interval_option,
    notes,
    print_json,
    print_rows,
    run_async,
)
from market_data.core.bars import COLUMNS
from market_data.core.config import get_settings
from market_data.core.exceptions import InvalidInput
from market_data.core.interval import Basis
from market_data.core.vocabulary import SortOrder
from market_data.db.home import open_home
from market_data.schemas.fields import Source
from market_data.services.instrument import InstrumentService
from market_data.services.market_price import MarketPriceService, PriceQuery
from market_data.services.price_page import PricePage

_TABLE_ROWS = 1000


class OutputFormat(StrEnum):
    """How to print bars."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    NDJSON = "ndjson"
    PARQUET = "parquet"
    ARROW = "arrow"


_BINARY = {OutputFormat.PARQUET, OutputFormat.ARROW}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: market-data prices EURUSD --start 2024-01-01 --format csv -o eurusd.csv")(
        prices
    )
    app.command(epilog="Example: market-data delete AAPL --interval 1d --source file --yes")(delete)


def prices(
    symbol: Annotated[str, typer.Argument(help="symbol or exchange:symbol")],
    interval: Annotated[str, typer.Option(help="1m 5m 15m 30m 1h 4h 1d 1w 1mo")] = "1d",
    start: Annotated[str | None, typer.Option(help="First bar, inclusive.")] = None,
    end: Annotated[str | None, typer.Option(help="End, exclusive.")] = None,
    source: Annotated[str | None, typer.Option(help="Else SOURCE_PREFERENCE decides.")] = None,
    basis: Annotated[Basis | None, typer.Option(help="Only this basis.")] = None,
    sort: Annotated[SortOrder, typer.Option(help="Direction of time.")] = SortOrder.ASC,
    output_format: Annotated[OutputFormat, typer.Option("--format")] = OutputFormat.TABLE,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write to a file.")] = None,
) -> None:
    """Print bars: all of the range, as a table (its first 1000 rows) or in a format for programs."""
    if output is None and output_format in _BINARY and sys.stdout.isatty():
        raise InvalidInput("format", f"{output_format} is not for a terminal: add -o FILE")
    query = PriceQuery(
        symbols=(symbol,),
        interval=interval_option(interval),
        start=instant_option("start", start),
        end=instant_option("end", end),
        source=None if source is None else checked("source", Source, source),
        basis=basis,
        sort=sort,
        limit=_TABLE_ROWS if output_format is OutputFormat.TABLE else None,
        all_known=True,
    )
    if query.start and query.end and query.end < query.start:
        raise InvalidInput("end", "lies before start")
    run_async(_print(query, output_format, output))


async def _print(query: PriceQuery, output_format: OutputFormat, output: Path | None) -> None:
    settings = get_settings()
    async with open_home(settings) as database:
        page = await MarketPriceService(database, settings.source_preference).page(query)
        if output_format is OutputFormat.TABLE:
            await _table(page)
        elif output is None:
            await _write(page, output_format, sys.stdout.buffer)
        else:
            with output.open("wb") as file:
                await _write(page, output_format, file)


async def _write(page: PricePage, output_format: OutputFormat, file: BinaryIO) -> None:
    async with aclosing(ENCODERS[output_format](page).stream()) as pieces:
        async for piece in pieces:
            file.write(piece)
    file.flush()
    _remark(page)


async def _table(page: PricePage) -> None:
    encoder = ENCODERS["csv"](page)
    async with aclosing(page.blocks()) as blocks:
        frames = [encoder.text_frame(block) async for block in blocks]
    print_rows((row for frame in frames for row in frame.iter_rows(named=True)), COLUMNS)
    _remark(page)
    if page.summary().next_page_token is not None:
        notes.print(f"the first {_TABLE_ROWS} bars; --format csv prints all, --start and --end choose")


def _remark(page: PricePage) -> None:
    info = page.describe(0)
    if not info.count:
        notes.print(f"no {info.interval} bars of {page.labels[0]} in this range", markup=False)
    elif sys.stderr.isatty():
        notes.print(f"{info.exchange}, {info.currency}, from {info.source}, {info.basis}", markup=False)


def delete(
    symbol: Annotated[str, typer.Argument(metavar="SYMBOL|ID", help="symbol, exchange:symbol, or id")],
    interval: Annotated[str, typer.Option(help="Which bars.")],
    source: Annotated[str, typer.Option(help="Whose bars.")],
    basis: Annotated[Basis | None, typer.Option(help="Only this basis.")] = None,
    start: Annotated[str | None, typer.Option(help="First bar, inclusive.")] = None,
    end: Annotated[str | None, typer.Option(help="End, exclusive.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Really delete.")] = False,
    json: Json = False,
) -> None:
    """Take a bad import back."""
    wanted = interval_option(interval)
    span = instant_option("start", start), instant_option("end", end)
    if not yes:
        raise InvalidInput("yes", f"this deletes {wanted} bars of {symbol} from {source}: add --yes")

    async def work() -> int:
        settings = get_settings()
        async with open_home(settings) as database:
            instrument = await find_one(InstrumentService(database), symbol)
            service = MarketPriceService(database, settings.source_preference)
            return await service.delete(instrument.id, wanted, source, basis, *span)

    deleted = run_async(work())
    print_json({"deleted": deleted}) if json else typer.echo(f"{deleted} bars deleted")
