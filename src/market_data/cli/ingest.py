"""`market-data ingest` and `market-data providers`."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from market_data.cli.options import (
    AllowRejections,
    End,
    IntervalOption,
    Json,
    Start,
    checked,
    interval_option,
    span_option,
)
from market_data.cli.output import in_words, print_fields, print_json, print_rows, report_run
from market_data.cli.progress import Shown
from market_data.cli.running import opened_for_runs, run_async
from market_data.core.interval import Interval
from market_data.etl.registry import find_provider
from market_data.schemas.fields import Exchange
from market_data.schemas.ingestion import ProviderRead, ProviderSymbolText, RunRead
from market_data.services.ingestion import IngestionService, IngestRequest, Progress
from market_data.services.provider import ProviderDescription, describe_providers

app = typer.Typer()


@app.command(epilog="Example: market-data ingest ecb EURUSD EURGBP --start 2024-01-01")
def ingest(
    provider: Annotated[str, typer.Argument(help="One of `market-data providers`.")],
    symbols: Annotated[list[str], typer.Argument(help="As the provider writes them.")],
    interval: IntervalOption = "1d",
    start: Start = None,
    end: End = None,
    exchange: Annotated[
        str | None, typer.Option(help="Where the symbols trade, for providers that do not say.")
    ] = None,
    allow_rejections: AllowRejections = False,
    json: Json = False,
) -> None:
    """Pull bars from a provider. Safe to repeat: what is stored already is left untouched."""
    first, last = span_option(start, end)
    request = IngestRequest(
        provider=find_provider(provider).spec.name,
        symbols=tuple(checked("symbol", ProviderSymbolText, symbol) for symbol in dict.fromkeys(symbols)),
        interval=interval_option(interval),
        start=first,
        end=last,
        exchange=None if exchange is None else checked("exchange", Exchange, exchange),
    )
    report_run(run_async(_ingest, request), as_json=json, allow_rejections=allow_rejections)


async def _ingest(request: IngestRequest) -> RunRead:
    async with opened_for_runs() as (database, liveness):
        with Shown() as shown:

            def show(progress: Progress) -> None:
                detail = f"{progress.bars} bars"
                shown.show(progress.symbol, detail, progress.symbols_done, progress.symbols_wanted)

            run = await IngestionService(database, liveness).ingest(request, show)
        return RunRead.model_validate(run)


@app.command(epilog="Example: market-data providers yahoo")
def providers(
    name: Annotated[str | None, typer.Argument(help="Show one in detail.")] = None, json: Json = False
) -> None:
    """Show the providers: what they cover and whether their keys are set."""
    found = describe_providers()
    if name is not None:
        wanted = find_provider(name).spec.name
        found = [one for one in found if one.name == wanted]
    if json:
        rows = [
            ProviderRead.model_validate(one, from_attributes=True).model_dump(mode="json") for one in found
        ]
        print_json(rows if name is None else rows[0])
    elif name is None:
        print_rows(map(_row, found), ("name", "covers", "intervals", "key"))
    else:
        print_fields(_row(found[0]))


def _row(one: ProviderDescription) -> dict[str, object]:
    return {
        "name": one.name,
        "title": one.title,
        "covers": one.covers,
        "homepage": one.homepage,
        "intervals": " ".join(one.intervals),
        "basis": " ".join(sorted({str(basis) for basis in one.basis.values()})),
        "asset classes": " ".join(one.asset_classes),
        "requests per minute": f"{one.requests_per_minute:g}",
        "requests per hour": one.requests_per_hour,
        "requests per day": one.requests_per_day,
        "page bars": one.page_bars or "all",
        "history": history_in_words(one.intervals, one.history_seconds),
        "settling": in_words(one.settling_seconds),
        "overlap bars": one.overlap_bars,
        "timezone": one.timezone or "the exchange's own",
        "key": _key(one),
    }


def history_in_words(intervals: Sequence[Interval], seconds: Mapping[Interval, int]) -> str:
    """Write how far back a provider's bars go, by interval."""
    if not seconds:
        return "all"
    told = ((one, in_words(seconds[one]) if one in seconds else "all") for one in intervals)
    return ", ".join(f"{interval} {reach}" for interval, reach in told)


def _key(one: ProviderDescription) -> str:
    if not one.needs_key:
        return "not needed"
    return "set" if one.key_set else f"missing: set {one.key_variable}"
