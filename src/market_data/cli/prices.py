"""`market-data prices` and `market-data delete`."""

import sys
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from market_data.api.encoders import ENCODERS
from market_data.cli.catalogue import find_one
from market_data.cli.files import written_whole
from market_data.cli.options import (
    End,
    IntervalOption,
    Json,
    Span,
    Start,
    Which,
    checked,
    interval_option,
    span_option,
)
from market_data.cli.output import notes, print_json, print_rows
from market_data.cli.running import opened, opened_for_bars, run_async
from market_data.core.bars import COLUMNS
from market_data.core.config import get_settings
from market_data.core.exceptions import InvalidInput
from market_data.core.interval import Basis, Interval
from market_data.core.vocabulary import SortOrder
from market_data.schemas.fields import Source
from market_data.services.instrument import InstrumentService
from market_data.services.market_price import MarketPriceService, PriceQuery
from market_data.services.price_page import PricePage

app = typer.Typer()
TABLE_ROWS = 1000


class OutputFormat(StrEnum):
    """How to print bars."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    NDJSON = "ndjson"
    PARQUET = "parquet"
    ARROW = "arrow"


_BINARY = {OutputFormat.PARQUET, OutputFormat.ARROW}
_ENDINGS = {f".{name}": name for name in OutputFormat if name is not OutputFormat.TABLE}

SourceOption = Annotated[str | None, typer.Option(help="Else SOURCE_PREFERENCE decides.")]
BasisOption = Annotated[Basis | None, typer.Option(help="Only this basis.")]


@app.command(epilog="Example: market-data prices EURUSD --start 2024-01-01 --format csv -o eurusd.csv")
def prices(
    symbol: Annotated[str, typer.Argument(help="symbol or exchange:symbol")],
    interval: IntervalOption = "1d",
    start: Start = None,
    end: End = None,
    source: SourceOption = None,
    basis: BasisOption = None,
    sort: Annotated[SortOrder, typer.Option(help="Direction of time.")] = SortOrder.ASC,
    output_format: Annotated[
        OutputFormat | None,
        typer.Option("--format", help="Unless given, by the ending of FILE; a table on a terminal."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to a file.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Print bars: all of the range, as a table (its first 1000 rows) or in a format for programs."""
    chosen = _format(OutputFormat.JSON if json else output_format, output)
    first, last = span_option(start, end)
    query = PriceQuery(
        symbols=(symbol,),
        interval=interval_option(interval),
        start=first,
        end=last,
        source=None if source is None else checked("source", Source, source),
        basis=basis,
        sort=sort,
        limit=TABLE_ROWS if chosen is OutputFormat.TABLE else None,
        all_known=True,
    )
    run_async(_print, query, chosen, output)


def _format(wanted: OutputFormat | None, output: Path | None) -> OutputFormat:
    if output is None:
        if wanted in _BINARY and _on_terminal():
            raise InvalidInput("format", f"{wanted} is not for a terminal: add -o FILE")
        return wanted or OutputFormat.TABLE
    found = wanted or _ENDINGS.get(output.suffix.lower())
    if found in {None, OutputFormat.TABLE}:
        raise InvalidInput("format", f"say which for {output.name}: --format {'|'.join(_ENDINGS.values())}")
    return OutputFormat(str(found))


def _on_terminal() -> bool:
    return sys.stdout.isatty()


async def _print(query: PriceQuery, output_format: OutputFormat, output: Path | None) -> None:
    async with opened() as database:
        page = await MarketPriceService(database, get_settings().source_preference).open(query)
        if output_format is OutputFormat.TABLE:
            await _table(page)
        else:
            with _target(output) as file:
                await _write(page, output_format, file)
        _remark(page)


@contextmanager
def _target(output: Path | None) -> Iterator[BinaryIO]:
    if output is not None:
        with written_whole(output) as file:
            yield file
        return
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()


async def _write(page: PricePage, output_format: OutputFormat, file: BinaryIO) -> None:
    async with aclosing(ENCODERS[output_format](page).stream()) as pieces:
        async for piece in pieces:
            file.write(piece)


async def _table(page: PricePage) -> None:
    encoder = ENCODERS["csv"](page)
    async with aclosing(page.blocks()) as blocks:
        frames = [encoder.text_frame(block) async for block in blocks]
    print_rows((row for frame in frames for row in frame.iter_rows(named=True)), COLUMNS)
    if page.summary().next_page_token is not None:
        notes.print(f"the first {TABLE_ROWS} bars; --format csv prints all, --start and --end choose")


def _remark(page: PricePage) -> None:
    info = page.describe(0)
    if not info.count:
        notes.print(f"no {info.interval} bars of {page.labels[0]} in this range", markup=False)
    elif sys.stderr.isatty():
        notes.print(f"{info.exchange}, {info.currency}, from {info.source}, {info.basis}", markup=False)


@app.command(epilog="Example: market-data delete AAPL --interval 1d --source file --yes")
def delete(
    symbol: Which,
    interval: Annotated[str, typer.Option(help="Which bars.")],
    source: Annotated[str, typer.Option(help="Whose bars.")],
    basis: BasisOption = None,
    start: Start = None,
    end: End = None,
    yes: Annotated[bool, typer.Option("--yes", help="Really delete.")] = False,
    json: Json = False,
) -> None:
    """Take a bad import back."""
    wanted, span = interval_option(interval), span_option(start, end)
    whose = checked("source", Source, source)
    if not yes:
        raise InvalidInput("yes", f"this deletes {wanted} bars of {symbol} from {whose}: add --yes")
    deleted = run_async(_delete, symbol, wanted, whose, basis, span)
    print_json({"deleted": deleted}) if json else typer.echo(f"{deleted} bars deleted")


async def _delete(symbol: str, interval: Interval, source: str, basis: Basis | None, span: Span) -> int:
    async with opened_for_bars() as database:
        instrument = await find_one(InstrumentService(database), symbol)
        service = MarketPriceService(database, get_settings().source_preference)
        return await service.delete(instrument.id, interval, source, basis, *span)
