"""`market-data db`: the schema, and where the database is."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from market_data.cli.options import Json
from market_data.cli.output import DONE, FAILED, complain, notes, print_fields, print_json
from market_data.cli.progress import Shown
from market_data.cli.running import opened, opened_at_any_schema, opened_for_bars, run_async
from market_data.core.config import get_settings
from market_data.core.exceptions import InvalidInput
from market_data.db import migrations
from market_data.db.backup import backup, restore
from market_data.db.home import open_server
from market_data.db.info import describe
from market_data.db.layout import Layout
from market_data.db.reader import grant_reader as grant
from market_data.db.session import libpq_url
from market_data.db.storage_move import Moved, upgrade_storage
from market_data.services.retention import Removed, RetentionService
from market_data.services.sealing import SealingService

app = typer.Typer()
_db = typer.Typer(
    help="The database: its schema, size and address.",
    epilog="Example: market-data db info",
    no_args_is_help=True,
)
app.add_typer(_db, name="db")


@_db.command(epilog="Example: DATABASE_URL=postgresql://... market-data db upgrade")
def upgrade(json: Json = False) -> None:
    """Bring the schema up to this program's; safe to repeat, and from several machines at once."""

    async def work() -> tuple[migrations.Revision, migrations.Revision]:
        async with opened_at_any_schema() as database:
            before = await migrations.revision(database)
            await migrations.upgrade(database, layout=Layout.of(get_settings()))
            return before, await migrations.revision(database)

    before, after = run_async(work)
    if json:
        print_json({"before": before.current, "current": after.current})
    elif before == after:
        typer.echo(f"the schema is up to date, at revision {after.current}")
    else:
        typer.echo(f"the schema was upgraded from {before.current or 'empty'} to {after.current}")


@_db.command(epilog="Example: market-data db current")
def current(json: Json = False) -> None:
    """Show which revision the schema is at, and which this program needs; exit 1 when they differ."""

    async def work() -> migrations.Revision:
        async with opened_at_any_schema() as database:
            return await migrations.revision(database)

    found = run_async(work)
    if json:
        print_json({"current": found.current, "head": found.head, "is_head": found.is_head})
    else:
        typer.echo(f"{found.current or 'empty'} (this program needs {found.head})")
    raise typer.Exit(DONE if found.is_head else FAILED)


@_db.command(epilog="Example: market-data db check")
def check(json: Json = False) -> None:
    """Compare the tables with this program's models; exit 1 when they differ."""

    async def work() -> list[str]:
        async with opened_at_any_schema() as database:
            await migrations.require_head(database)
            return await migrations.differences(database)

    found = run_async(work)
    if json:
        print_json({"differences": found})
    elif found:
        typer.echo("\n".join(found))
        complain("tables and models differ")
    else:
        typer.echo("tables and models agree")
    raise typer.Exit(FAILED if found else DONE)


@_db.command(epilog="Example: market-data db info --json")
def info(json: Json = False) -> None:
    """Show the server, the schema and what is stored."""

    async def work() -> dict[str, object]:
        async with opened_at_any_schema() as database:
            return await describe(database)

    found = run_async(work)
    settings = get_settings()
    if settings.database_url is None:
        found["data_dir"] = str(settings.data_dir)
    print_json(found) if json else print_fields(found)


@_db.command(
    "upgrade-storage", epilog="Example: market-data db upgrade-storage   (once the server has TimescaleDB)"
)
def upgrade_storage_(json: Json = False) -> None:
    """Move the bars into TimescaleDB's hypertables; reading and writing go on, and repeating is safe."""

    async def work() -> list[Moved]:
        async with opened() as database:
            with Shown() as shown:
                return await upgrade_storage(
                    database,
                    Layout.of(get_settings()),
                    lambda table, done, total, bars: shown.show(f"{table}: {bars} bars", "", done, total),
                )

    moved = run_async(work)
    if json:
        print_json({"moved": [asdict(one) for one in moved]})
    elif not moved:
        typer.echo("all bars lie in hypertables already")
    for one in () if json else moved:
        typer.echo(f"{one.table}: {one.bars} bars counted before and after")


@_db.command("backup", epilog="Example: market-data db backup prices-2024-06-01.dump")
def backup_(file: Annotated[Path, typer.Argument(help="New file to write.")], json: Json = False) -> None:
    """Write the whole database, as of one moment, into a file for `db restore`; reading and writing go on."""

    async def work() -> int:
        async with opened() as database:
            with Shown() as shown:
                return await backup(database, file, lambda size: shown.show(str(file), f"{size >> 20} MiB"))

    bars = run_async(work)
    if json:
        print_json({"file": str(file), "bytes": file.stat().st_size, "bars": bars})
    else:
        typer.echo(f"{bars} bars in {file} ({file.stat().st_size >> 20} MiB)")


@_db.command(
    "restore", epilog="Example: DATABASE_URL=postgresql://.../empty market-data db restore prices.dump"
)
def restore_(file: Annotated[Path, typer.Argument(help="File of `db backup`.")], json: Json = False) -> None:
    """Fill an empty database from a backup, and bring it to this program's schema; bars are counted."""

    async def work() -> int:
        async with opened_at_any_schema() as database:
            bars = await restore(database, file)
            await migrations.upgrade(database, layout=Layout.of(get_settings()))
            return bars

    bars = run_async(work)
    print_json({"bars": bars}) if json else typer.echo(f"{bars} bars restored and counted")


@_db.command(epilog="Example: RETENTION_DAYS=1m=90 market-data db retention --dry-run")
def retention(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be removed.")] = False,
    json: Json = False,
) -> None:
    """Remove bars that are older than RETENTION_DAYS says for their interval; others are kept."""
    limits = get_settings().retention

    async def work() -> list[Removed]:
        async with opened_for_bars() as database:
            service = RetentionService(database, limits)
            if dry_run:
                return await service.preview()
            with Shown() as shown:
                return await service.apply(lambda one, bars: shown.show(f"removing {one}", f"{bars} bars"))

    removed = run_async(work)
    if json:
        print_json({"dry_run": dry_run, "removed": [asdict(one) for one in removed]})
    elif not removed:
        typer.echo("nothing to do: RETENTION_DAYS names no interval, so all bars are kept")
    for one in () if json else removed:
        verb = "would be removed" if dry_run else "removed"
        typer.echo(f"{one.interval}: {one.bars} bars before {one.before:%Y-%m-%d} {verb}")


@_db.command(epilog="Example: market-data db seal")
def seal(json: Json = False) -> None:
    """Build the column index of every stretch of bars that has none; `serve` does so by itself."""

    async def work() -> int:
        async with opened() as database:
            with Shown() as shown:
                return await SealingService(database).seal(
                    on_blocks=lambda done: shown.show("sealing", f"{done} blocks")
                )

    sealed = run_async(work)
    print_json({"sealed": sealed}) if json else typer.echo(f"{sealed} blocks sealed")


@_db.command(epilog="Example: market-data db reindex   (after bars were written with SQL)")
def reindex(json: Json = False) -> None:
    """Count every series from its rows and build the column index anew; safe at any time."""

    async def work() -> tuple[int, int]:
        async with opened() as database:
            service = SealingService(database)
            with Shown() as shown:
                bars = await service.reindex(
                    lambda done, total, bars: shown.show("counting", f"{bars} bars", done - 1, total)
                )
                return bars, await service.seal(
                    on_blocks=lambda done: shown.show("sealing", f"{done} blocks")
                )

    bars, sealed = run_async(work)
    if json:
        print_json({"bars": bars, "sealed": sealed})
    else:
        typer.echo(f"{bars} bars counted, {sealed} blocks sealed")


@_db.command(name="grant-reader", epilog="Example: READER_PASSWORD=... market-data db grant-reader grafana")
def grant_reader(
    login: Annotated[str, typer.Argument(help="Name of the login.")],
    password_env: Annotated[
        str, typer.Option(help="Environment variable that holds its password; never an argument.")
    ] = "READER_PASSWORD",  # noqa: S107 # the name of a variable
    json: Json = False,
) -> None:
    """Create a login that may read the views and nothing else; repeating sets its password anew."""
    password = os.environ.get(password_env)
    if not password:
        raise InvalidInput("password-env", f"the environment variable {password_env} is unset or empty")

    async def work() -> bool:
        async with opened() as database:
            return await grant(database, login, password)

    created = run_async(work)
    if json:
        print_json({"login": login, "created": created})
    else:
        typer.echo(f"{login} {'was created and' if created else ''} may read the views".replace("  ", " "))


@_db.command(epilog='Example: psql "$(market-data db url)"   (while `market-data serve` runs)')
def url(json: Json = False) -> None:
    """Print the database's address, for psql and other programs. It holds the password."""

    async def work() -> str:
        async with open_server(get_settings()) as found:
            return libpq_url(found)

    found = run_async(work)
    print_json({"url": found}) if json else typer.echo(found)
    if get_settings().database_url is None:
        notes.print("the embedded server stops with its last user: keep `market-data serve` running")
