"""All commands in one tree, and how any of them ends: 0 done, 1 errors or rejections, 2 wrong usage."""

import sys
from typing import Annotated

import structlog
import typer

from market_data import __version__
from market_data.cli import db, ingest, instruments, load, prices, runs, serve
from market_data.cli.output import DONE, FAILED, MISUSED, complain
from market_data.core import logging
from market_data.core.config import get_settings
from market_data.core.exceptions import (
    AmbiguousSymbol,
    ConfigurationError,
    DatabaseUnavailable,
    InvalidInput,
    MarketDataError,
    NotFound,
    UnsupportedFormat,
)

app = typer.Typer(
    name="market-data",
    help="Market data: prices in, exact and idempotent; prices out, fast.",
    epilog="Example: market-data ingest ecb EURUSD --start 2024-01-01",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
serve.register(app)
db.register(app)
ingest.register(app)
load.register(app)
instruments.register(app)
prices.register(app)
runs.register(app)

_USAGE = (InvalidInput, NotFound, AmbiguousSymbol, UnsupportedFormat, ConfigurationError)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"market-data {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[  # noqa: ARG001 # handled by its callback
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    settings = get_settings()
    logging.configure(settings.log_level, settings.log_format)


def main() -> None:
    """Run the command line."""
    try:
        app()
    except MarketDataError as error:
        complain(str(error))
        misused = isinstance(error, _USAGE) and not isinstance(error, DatabaseUnavailable)
        sys.exit(MISUSED if misused else FAILED)
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stderr.close()
        sys.exit(DONE)
    except KeyboardInterrupt:
        complain("stopped; what was committed is stored, and repeating is safe")
        sys.exit(FAILED)
    except OSError as error:
        structlog.get_logger(__name__).debug("failed", exc_info=error)
        complain(str(error))
        sys.exit(FAILED)
