"""`market-data coverage`, `gaps` and `repair`: what is known of series, and filling what is missing."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from market_data.api.shapes import coverage_read, gap_read
from market_data.cli.catalogue import PAGE, every
from market_data.cli.coverage_map import print_map
from market_data.cli.options import End, Json, Start, checked, interval_option, span_option
from market_data.cli.output import FAILED, complain, print_json, print_rows
from market_data.cli.progress import Shown
from market_data.cli.running import opened, opened_for_runs, run_async
from market_data.core.interval import Interval
from market_data.db.liveness import Liveness
from market_data.db.session import Database
from market_data.repositories.series import SeriesFilter
from market_data.schemas.fields import Source
from market_data.schemas.job import JobRead
from market_data.services.coverage import SeriesCoverage
from market_data.services.gaps import Gap, GapService, Repaired, Window
from market_data.services.instrument import InstrumentService

app = typer.Typer()
_GAP_COLUMNS = ("symbol", "exchange", "interval", "source", "state", "start", "end", "bars")
_REPAIR_COLUMNS = ("symbol", "interval", "source", "missing", "stored", "still_missing", "run", "error")

Symbols = Annotated[
    list[str] | None, typer.Argument(metavar="[SYMBOL]", help="Only these: symbol or exchange:symbol.")
]
OnlyInterval = Annotated[str | None, typer.Option("--interval", help="Only this interval.")]
OnlySource = Annotated[str | None, typer.Option("--source", help="Only this source.")]


@app.command(epilog="Example: market-data coverage EURUSD --interval 1d")
def coverage(
    symbols: Symbols = None,
    interval: OnlyInterval = None,
    source: OnlySource = None,
    start: Start = None,
    end: End = None,
    weeks: Annotated[bool, typer.Option("--weeks", help="A character a week, instead of a month.")] = False,
    json: Json = False,
) -> None:
    """Show which months of each series are there, missing, or known to be empty: a row a year."""
    only, whose = _only(interval, source)
    window = _window(start, end)

    async def work() -> list[SeriesCoverage]:
        async with opened() as database:
            service, wanted = (
                GapService(database, Liveness(database)),
                await _filter(database, symbols, only, whose),
            )
            return await every(
                lambda token: service.list_coverage(wanted, window, limit=PAGE, page_token=token)
            )

    found = [coverage_read(one) for one in run_async(work)]
    if json:
        print_json([one.model_dump(mode="json") for one in found])
    else:
        print_map(found, weeks=weeks)


@app.command(epilog="Example: market-data gaps BTCUSDT --interval 1m")
def gaps(
    symbols: Symbols = None,
    interval: OnlyInterval = None,
    source: OnlySource = None,
    start: Start = None,
    end: End = None,
    json: Json = False,
) -> None:
    """List the stretches that should have bars and have none."""
    only, whose = _only(interval, source)
    window = _window(start, end)

    async def work() -> list[Gap]:
        async with opened() as database:
            service, wanted = (
                GapService(database, Liveness(database)),
                await _filter(database, symbols, only, whose),
            )
            return await every(lambda token: service.list_gaps(wanted, window, limit=PAGE, page_token=token))

    rows = [gap_read(one).model_dump(mode="json") for one in run_async(work)]
    print_json(rows) if json else print_rows(rows, _GAP_COLUMNS)


@app.command(epilog="Example: market-data repair BTCUSDT --interval 1m")
def repair(
    symbols: Annotated[list[str], typer.Argument(metavar="SYMBOL", help="symbol or exchange:symbol.")],
    interval: OnlyInterval = None,
    source: OnlySource = None,
    provider: Annotated[
        str | None,
        typer.Option(help="Whom to ask, instead of each series' source; its bars become its own series."),
    ] = None,
    queue: Annotated[bool, typer.Option("--queue", help="Leave it to whoever works off the queue.")] = False,
    json: Json = False,
) -> None:
    """Fill gaps, by each series' source or by another provider; what nobody has is remembered."""
    only, whose = _only(interval, source)

    async def now() -> list[Repaired]:
        async with opened_for_runs() as (database, liveness):
            wanted = await _filter(database, symbols, only, whose)
            with Shown() as shown:

                def show(one: SeriesCoverage, place: int, wanted: int) -> None:
                    bars = sum(gap.bars for gap in one.gaps)
                    shown.show(_name(one), f"{len(one.gaps)} gaps, {bars} bars", place, wanted)

                return await GapService(database, liveness).repair_now(wanted, provider, show)

    async def later() -> list[dict[str, Any]]:
        async with opened() as database:
            wanted = await _filter(database, symbols, only, whose)
            jobs = await GapService(database, Liveness(database)).repair(wanted, provider)
            return [JobRead.model_validate(one.fields).model_dump(mode="json") for one in jobs]

    if queue:
        _queued(run_async(later), as_json=json)
    else:
        _repaired(run_async(now), as_json=json)


def _queued(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(rows)
    for row in () if as_json else rows:
        typer.echo(f"job {row['id']} is {row['status']}; follow it: market-data jobs watch {row['id']}")


def _repaired(found: Sequence[Repaired], *, as_json: bool) -> None:
    rows = [
        {
            "series_id": one.before.series.id,
            "symbol": one.before.instrument.symbol,
            "exchange": one.before.instrument.exchange,
            "interval": one.before.series.interval,
            "source": one.before.series.source,
            "missing": _missing(one.before),
            "stored": one.run.inserted + one.run.updated if one.run else 0,
            "still_missing": _missing(one.after),
            "run": one.run.id if one.run else None,
            "error": one.error,
        }
        for one in found
    ]
    print_json(rows) if as_json else print_rows(rows, _REPAIR_COLUMNS)
    failed = [one for one in found if one.error is not None]
    for one in failed:
        complain(f"{_name(one.before)}: {one.error}")
    if failed:
        raise typer.Exit(FAILED)


def _missing(one: SeriesCoverage) -> int:
    return sum(gap.bars for gap in one.gaps)


def _name(one: SeriesCoverage) -> str:
    return f"{one.instrument.symbol} {one.series.interval} {one.series.source}"


def _only(interval: str | None, source: str | None) -> tuple[Interval | None, str | None]:
    only = None if interval is None else interval_option(interval)
    return only, None if source is None else checked("source", Source, source)


def _window(start: str | None, end: str | None) -> Window:
    first, last = span_option(start, end)
    return Window(start=first, end=last)


async def _filter(
    database: Database, symbols: Sequence[str] | None, interval: Interval | None, source: str | None
) -> SeriesFilter:
    ids = await InstrumentService(database).ids_of(list(symbols)) if symbols else None
    return SeriesFilter(instrument_ids=ids, interval=interval, source=source)
