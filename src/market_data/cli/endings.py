"""What stops a command, as one line on stderr and an exit code."""

import os
import sys
import traceback

import typer
from typer.exceptions import TyperException

from market_data.cli.output import DONE, FAILED, INTERRUPTED, MISUSED, complain
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

_USAGE = (InvalidInput, NotFound, AmbiguousSymbol, UnsupportedFormat, ConfigurationError)


def exit_code(error: BaseException) -> int | None:
    """Say what happened, and return the exit code; None for what Typer itself says."""
    if isinstance(error, typer.Exit | typer.Abort | TyperException):
        return None
    if isinstance(error, BrokenPipeError):  # the reader of our output has seen enough
        _forget_output()
        return DONE
    if isinstance(error, KeyboardInterrupt):
        complain("stopped; what was committed is stored, and repeating is safe")
        return INTERRUPTED
    if _debugging():
        traceback.print_exception(error)
    complain(_described(error))
    misused = isinstance(error, _USAGE) and not isinstance(error, DatabaseUnavailable)
    return MISUSED if misused else FAILED


def _described(error: BaseException) -> str:
    if isinstance(error, MarketDataError):
        return str(error)
    if isinstance(error, OSError):
        return ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
    return f"unexpected {type(error).__name__}: {error} (DEBUG=true shows where)"


def _forget_output() -> None:
    """Send what is still buffered to nowhere: flushing it at exit would complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _debugging() -> bool:
    try:
        return get_settings().debug
    except ConfigurationError:
        return False
