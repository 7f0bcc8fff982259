"""`market-data runs`: what was ingested, and what was refused."""

from typing import Annotated

import typer

from market_data.cli.options import Json
from market_data.cli.output import COUNTS, notes, print_fields, print_json, print_rows
from market_data.cli.running import opened_for_runs, run_async
from market_data.repositories.ingestion_run import RunFilter
from market_data.schemas.ingestion import RejectionRead, RunRead
from market_data.services.run import RunService

app = typer.Typer()
_SHOWN = 100


@app.command(epilog="Example: market-data runs 7")
def runs(
    run_id: Annotated[
        int | None, typer.Argument(metavar="[ID]", help="Show one, with its rejections.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Rows at most.")] = _SHOWN,
    json: Json = False,
) -> None:
    """Show the newest runs, or one run and the rows it refused."""
    if run_id is None:
        _list(limit, as_json=json)
    else:
        _one(run_id, limit, as_json=json)


def _list(limit: int, *, as_json: bool) -> None:
    async def work() -> list[RunRead]:
        async with opened_for_runs() as (database, _):
            found, _ = await RunService(database).list_(RunFilter(), limit=limit, page_token=None)
            return [RunRead.model_validate(one) for one in found]

    rows = [run.model_dump(mode="json") for run in run_async(work)]
    print_json(rows) if as_json else print_rows(rows, ("id", "source", "status", "started_at", *COUNTS))


def _one(run_id: int, limit: int, *, as_json: bool) -> None:
    async def work() -> tuple[RunRead, list[RejectionRead]]:
        async with opened_for_runs() as (database, _):
            service = RunService(database)
            run = RunRead.model_validate(await service.get(run_id))
            kept, _ = await service.list_rejections(run_id, limit=limit, page_token=None)
            return run, [RejectionRead.model_validate(one) for one in kept]

    run, rejections = run_async(work)
    shown = run.model_dump(mode="json")
    rows = [one.model_dump(mode="json") for one in rejections]
    if as_json:
        print_json(shown | {"rejections": rows})
        return
    print_fields(shown)
    if rows:
        typer.echo("")
        print_rows(rows, ("symbol", "ts", "reason", "detail", "text"))
    if len(rows) < run.rejected:
        notes.print(f"{len(rows)} of {run.rejected} rejected rows; --limit shows more of those kept")
