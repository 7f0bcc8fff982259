"""All commands in one tree, and how any of them ends: 0 done, 1 errors or rejections, 2 wrong usage."""

import sys
from importlib import import_module
from typing import Annotated, Any

import typer
import typer.main
from typer.core import TyperGroup

from market_data import __version__

COMMANDS = {
    "serve": ("serve", "Serve the API, with everything it needs."),
    "worker": ("worker", "Do the jobs of the queue until Ctrl-C, on as many machines as wanted."),
    "ingest": ("ingest", "Pull bars from a provider."),
    "providers": ("ingest", "Show the providers: what they cover and whether their keys are set."),
    "subscriptions": ("subscriptions", "What is kept up to date: list, add, edit, remove, sync."),
    "schedules": ("schedules", "When things are done: list, add, edit, remove."),
    "jobs": ("jobs", "The queue: list, show, retry, cancel, watch."),
    "coverage": ("coverage", "Show which months of each series are there, missing, or known to be empty."),
    "gaps": ("coverage", "List the stretches that should have bars and have none."),
    "repair": ("coverage", "Fill gaps, by each series' source or by another provider."),
    "calendars": ("calendars", "Trading calendars and their corrected days."),
    "import": ("load", "Store bars from a file."),
    "instruments": ("instruments", "The catalogue: list, add, edit, load."),
    "series": ("series", "Show what is stored: interval, source, basis, first, last, count."),
    "prices": ("prices", "Print bars, as a table or in a format for programs."),
    "delete": ("prices", "Take a bad import back."),
    "runs": ("runs", "Show the newest runs, or one run and the rows it refused."),
    "db": ("db", "The database: its schema, size and address."),
}
"""Name -> (module, what `--help` says). The module's `app` holds the command; it is imported when used."""


def load(name: str) -> Any:
    """Import a command."""
    module = import_module(f"market_data.cli.{COMMANDS[name][0]}")
    return typer.main.get_group(module.app).commands[name]


class Commands(TyperGroup):
    """Knows its commands by name and one line, so that `--help` and `--version` import nothing else."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Exchange a known name for the command itself."""
        name, _, rest = super().resolve_command(ctx, args)
        return (None, None, rest) if name is None else (name, load(name), rest)

    def invoke(self, ctx: Any) -> Any:
        """Run a command, and turn what stops it into a line on stderr and an exit code."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # a closed pipe shows here, and not when the interpreter ends
        except (KeyboardInterrupt, Exception) as error:
            from market_data.cli.endings import exit_code  # noqa: PLC0415 # see above: --help needs none of it

            code = exit_code(error)
            if code is None:
                raise
            raise typer.Exit(code) from None
        return result


app = typer.Typer(
    name="market-data",
    cls=Commands,
    help="Market data: prices in, exact and idempotent; prices out, fast.",
    epilog="Example: market-data ingest ecb EURUSD --start 2024-01-01",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, (_, _help) in COMMANDS.items():
    app.command(_name, help=_help)(lambda: None)


def everything() -> Any:
    """Return the tree with every command imported, for references and tests."""
    root = typer.main.get_group(app)
    root.commands.update({name: load(name) for name in COMMANDS})
    return root


def _version(value: bool) -> None:
    if value:
        typer.echo(f"market-data {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Hold the options of all commands."""


def main() -> None:
    """Run the command line."""
    app()
