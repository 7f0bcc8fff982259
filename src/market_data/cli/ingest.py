"""`market-data ingest` and `market-data providers`."""

import sys
from typing import Annotated, Self

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from market_data.cli.output import (
    AllowRejections,
    Json,
    instant_option,
    interval_option,
    notes,
    print_json,
    print_rows,
    report_run,
    run_async,
)
from market_data.core.config import get_settings
from market_data.core.exceptions import NotFound
from market_data.db.home import open_home
from market_data.db.liveness import Liveness
from market_data.schemas.ingestion import ProviderRead, RunRead
from market_data.services import ingestion
from market_data.services.provider import ProviderDescription, describe_providers


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: market-data ingest ecb EURUSD EURGBP --start 2024-01-01")(ingest)
    app.command(epilog="Example: market-data providers yahoo")(providers)


def ingest(
    provider: Annotated[str, typer.Argument(help="One of `market-data providers`.")],
    symbols: Annotated[list[str], typer.Argument(help="As the provider writes them.")],
    interval: Annotated[str, typer.Option(help="1m 5m 15m 30m 1h 4h 1d 1w 1mo")] = "1d",
    start: Annotated[str | None, typer.Option(help="First bar, inclusive: a date, or RFC 3339.")] = None,
    end: Annotated[str | None, typer.Option(help="End, exclusive.")] = None,
    exchange: Annotated[
        str | None, typer.Option(help="Where the symbols trade, for providers that do not say.")
    ] = None,
    allow_rejections: AllowRejections = False,
    json: Json = False,
) -> None:
    """Pull bars from a provider. Safe to repeat: what is stored already is left untouched."""
    request = ingestion.IngestRequest(
        provider=provider,
        symbols=tuple(dict.fromkeys(symbols)),
        interval=interval_option(interval),
        start=instant_option("start", start),
        end=instant_option("end", end),
        exchange=exchange,
    )
    run = run_async(_ingest(request))
    report_run(run, as_json=json, allow_rejections=allow_rejections)


async def _ingest(request: ingestion.IngestRequest) -> RunRead:
    async with open_home(get_settings()) as database:
        liveness = Liveness(database)
        try:
            service = ingestion.IngestionService(database, liveness)
            with _Shown() as shown:
                return RunRead.model_validate(await service.ingest(request, shown.show))
        finally:
            await liveness.close()


class _Shown:
    """Progress: a bar on a terminal, a line per symbol elsewhere."""

    def __init__(self) -> None:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[bars]} bars"),
        )
        self._progress = Progress(*columns, console=notes, transient=True, disable=not sys.stderr.isatty())
        self._task = self._progress.add_task("", total=None, bars=0)
        self._named = ""

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, progress: ingestion.Progress) -> None:
        """Show how far a run is."""
        self._progress.update(
            self._task,
            description=progress.symbol,
            total=progress.symbols_wanted,
            completed=progress.symbols_done,
            bars=progress.bars,
        )
        if self._progress.disable and progress.symbol != self._named:
            self._named = progress.symbol
            notes.print(
                f"{progress.symbol} ({progress.symbols_done + 1} of {progress.symbols_wanted})", markup=False
            )


def providers(
    name: Annotated[str | None, typer.Argument(help="Show one in detail.")] = None, json: Json = False
) -> None:
    """Show the providers: what they cover and whether their keys are set."""
    found = describe_providers()
    if name is not None:
        found = [_chosen(name, found)]
    if json:
        rows = [
            ProviderRead.model_validate(one, from_attributes=True).model_dump(mode="json") for one in found
        ]
        print_json(rows if name is None else rows[0])
    elif name is None:
        columns = ("name", "covers", "intervals", "key")
        print_rows(({**_row(one), "key": _key(one)} for one in found), columns)
    else:
        for field, value in _row(found[0]).items():
            typer.echo(f"{field:<20} {value}")
        typer.echo(f"{'key':<20} {_key(found[0])}")


def _chosen(name: str, found: list[ProviderDescription]) -> ProviderDescription:
    wanted = name.replace("-", "").replace("_", "").lower()
    for one in found:
        if one.name == wanted:
            return one
    raise NotFound(f"no provider {name!r}; known are {', '.join(one.name for one in found)}")


def _row(one: ProviderDescription) -> dict[str, object]:
    bases = {str(basis) for basis in one.basis.values()}
    return {
        "name": one.name,
        "title": one.title,
        "covers": one.covers,
        "homepage": one.homepage,
        "intervals": " ".join(one.intervals),
        "basis": " ".join(sorted(bases)),
        "asset classes": " ".join(one.asset_classes),
        "requests per minute": one.requests_per_minute,
    }


def _key(one: ProviderDescription) -> str:
    if not one.needs_key:
        return "not needed"
    return "set" if one.key_set else f"missing: set {one.key_variable}"
