"""`market-data db`: the schema, and where the database is."""

import typer

from market_data.cli.output import DONE, FAILED, Json, complain, notes, print_json, run_async
from market_data.core.config import get_settings
from market_data.db import migrations
from market_data.db.home import open_server
from market_data.db.info import describe
from market_data.db.session import Database

_db = typer.Typer(help="The database: its schema, size and address.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(_db, name="db")


@_db.command(epilog="Example: DATABASE_URL=postgresql://... market-data db upgrade")
def upgrade() -> None:
    """Bring the schema up to this program's; safe to repeat, and from several machines at once."""

    async def work() -> None:
        async with open_server(get_settings()) as url:
            database = Database(url)
            try:
                before = await migrations.revision(database)
                await migrations.upgrade(database)
                after = await migrations.revision(database)
            finally:
                await database.close()
        done = "is up to date" if before == after else f"was upgraded from {before.current or 'empty'}"
        typer.echo(f"the schema {done}, at revision {after.current}")

    run_async(work())


@_db.command(epilog="Example: market-data db current")
def current(json: Json = False) -> None:
    """Show which revision the schema is at, and which this program needs."""

    async def work() -> migrations.Revision:
        async with open_server(get_settings()) as url:
            database = Database(url)
            try:
                return await migrations.revision(database)
            finally:
                await database.close()

    found = run_async(work())
    if json:
        print_json({"current": found.current, "head": found.head, "is_head": found.is_head})
    else:
        typer.echo(f"{found.current or 'empty'} (this program needs {found.head})")
    raise typer.Exit(DONE if found.is_head else FAILED)


@_db.command(epilog="Example: market-data db check")
def check(json: Json = False) -> None:
    """Compare the tables with this program's models; exit 1 when they differ."""

    async def work() -> list[str]:
        async with open_server(get_settings()) as url:
            database = Database(url)
            try:
                await migrations.require_head(database)
                return await migrations.differences(database)
            finally:
                await database.close()

    found = run_async(work())
    if json:
        print_json({"differences": found})
    else:
        typer.echo("tables and models agree" if not found else "\n".join(found))
    if found and not json:
        complain("tables and models differ")
    raise typer.Exit(FAILED if found else DONE)


@_db.command(epilog="Example: market-data db info --json")
def info(json: Json = False) -> None:
    """Show the server, the schema and what is stored."""

    async def work() -> dict[str, object]:
        async with open_server(get_settings()) as url:
            database = Database(url)
            try:
                return await describe(database)
            finally:
                await database.close()

    found = run_async(work())
    if json:
        print_json(found)
    else:
        for name, value in found.items():
            typer.echo(f"{name:<12} {value}")


@_db.command(epilog='Example: psql "$(market-data db url)"   (while `market-data serve` runs)')
def url() -> None:
    """Print the database's address, for psql and other programs. It holds the password."""

    async def work() -> str:
        async with open_server(get_settings()) as found:
            return found

    typer.echo(run_async(work()))
    if get_settings().database_url is None:
        notes.print("the embedded server stops with its last user: keep `market-data serve` running")
