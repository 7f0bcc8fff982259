"""`market-data jobs`: the queue."""

from typing import Annotated, Any

import typer

from market_data.cli.groups import ListGroup
from market_data.cli.options import Json
from market_data.cli.output import COUNTS, DONE, FAILED, print_fields, print_json, print_rows
from market_data.cli.running import opened, run_async
from market_data.cli.watching import Screen, watch_all, watch_one
from market_data.core.vocabulary import JobKind, JobStatus, RunStatus
from market_data.repositories.job import JobFilter
from market_data.schemas.ingestion import RunRead
from market_data.schemas.job import JobRead
from market_data.services.jobs import Job, JobService
from market_data.services.watching import Watcher

_COLUMNS = ("id", "kind", "provider", "status", "priority", "attempts", "due_at", "about", "error")
_SHOWN = 100

_jobs = typer.Typer(
    cls=ListGroup,
    help="The queue: market-data jobs, or show, retry, cancel, watch.",
    epilog="Example: market-data jobs watch",
)
app = typer.Typer()
app.add_typer(_jobs, name="jobs")

Which = Annotated[int, typer.Argument(metavar="ID", help="Of `market-data jobs`.")]


@_jobs.command("list", epilog="Example: market-data jobs list --status failed")
def list_(
    status: Annotated[JobStatus | None, typer.Option(help="Only such.")] = None,
    kind: Annotated[JobKind | None, typer.Option(help="Only such.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only of this provider.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Rows at most.")] = _SHOWN,
    json: Json = False,
) -> None:
    """List what waits, is being done, or was given up, newest first; what ended is a run."""
    wanted = JobFilter(status=status, kind=kind, provider=provider)

    async def work() -> list[Job]:
        async with opened() as database:
            found, _ = await JobService(database).list_(wanted, limit=limit, page_token=None)
            return found

    rows = [_row(one) for one in run_async(work)]
    print_json(rows) if json else print_rows(map(_short, rows), _COLUMNS)


@_jobs.command(epilog="Example: market-data jobs show 12")
def show(job_id: Which, json: Json = False) -> None:
    """Show one job, and the run that records what came of it so far."""
    row = run_async(_get, job_id)
    if json:
        print_json(row)
        return
    run = row.pop("run")
    print_fields(row)
    if run is not None:
        typer.echo("")
        print_fields({f"run {name}": run[name] for name in ("id", "status", "expected", *COUNTS, "error")})


@_jobs.command(epilog="Example: market-data jobs retry 12")
def retry(job_id: Which, json: Json = False) -> None:
    """Let a job that was given up, or waits for its time, be done at once."""

    async def work() -> dict[str, Any]:
        async with opened() as database:
            return _row(await JobService(database).retry(job_id))

    row = run_async(work)
    print_json(row) if json else typer.echo(f"job {job_id} is {row['status']}")


@_jobs.command(epilog="Example: market-data jobs cancel 12")
def cancel(job_id: Which, json: Json = False) -> None:
    """Take a job out of the queue; what it stored stays, and its run ends as cancelled."""

    async def work() -> None:
        async with opened() as database:
            await JobService(database).cancel(job_id)

    run_async(work)
    print_json({"cancelled": job_id}) if json else typer.echo(f"job {job_id} is cancelled")


@_jobs.command(epilog="Example: market-data jobs watch --once")
def watch(
    job_id: Annotated[int | None, typer.Argument(metavar="[ID]", help="Follow one, to its end.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Show one picture, and end.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print each picture as a line of JSON.")] = False,
) -> None:
    """Show what is being done: how far, how fast, how long still; until Ctrl-C, or the end of one job."""

    async def work() -> RunRead | None:
        async with opened() as database:
            watcher = Watcher(database)
            with Screen(as_json=json, once=once) as screen:
                if job_id is None:
                    await watch_all(watcher, screen)
                    return None
                return await watch_one(watcher, screen, job_id)

    run = run_async(work)
    if run is None:
        return
    if not json:
        counts = ", ".join(f"{getattr(run, name)} {name}" for name in COUNTS)
        typer.echo(f"run {run.id} {run.status}: {counts}" + (f": {run.error}" if run.error else ""))
    ended = run.status not in {RunStatus.QUEUED, RunStatus.RUNNING}
    raise typer.Exit(FAILED if ended and run.status is not RunStatus.SUCCEEDED else DONE)


async def _get(job_id: int) -> dict[str, Any]:
    async with opened() as database:
        return _row(await JobService(database).get(job_id))


def _row(one: Job) -> dict[str, Any]:
    return JobRead.model_validate(one.fields).model_dump(mode="json")


def _short(row: dict[str, Any]) -> dict[str, Any]:
    run = row["run"] or {"parameters": {}, "error": None}
    about = " ".join((*run["parameters"].get("symbols", ())[:3], run["parameters"].get("interval", "")))
    return row | {"about": about or row["parameters"], "error": run["error"]}
