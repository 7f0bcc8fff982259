"""Structured logs on stderr: for people or as JSON lines, joined by request and run id, without secrets."""

import logging
import logging.config
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog

_SECRETS: set[str] = set()
_CREDENTIALS = re.compile(
    r"(?i)((?:api_?key|token|password|secret)=|://[^:/@\s]*:)[^&@\s\"']+|((?:bearer|token) )[\w.~+/-]{8,}"
)
_HIDDEN = "***"
_TOLD = "_market_data_told"


def hide(*secrets: str) -> None:
    """Never write these texts to a log from now on."""
    _SECRETS.update(s for s in secrets if s)


def redact(text: str) -> str:
    """Blank out known secrets and what looks like credentials in a URL or header."""
    for secret in _SECRETS:
        text = text.replace(secret, _HIDDEN)
    return _CREDENTIALS.sub(lambda found: (found[1] or found[2]) + _HIDDEN, text)


def _clean(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return redact(str(value))  # an exception or a URL is as talkative as a text


def _redacted(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if not key.startswith("_"):  # the formatter's own
            event[key] = _clean(value)
    return event


def mark_told(error: BaseException) -> None:
    """Note that an error has been logged, so that a library it passes through does not log it again."""
    error.__dict__[_TOLD] = True


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a record says more than our own did: the queue logs each job that fails, with a traceback.

    Its own trouble comes the same way, and is shown: a listener that fails, results that are not stored.
    """
    error = record.exc_info[1] if record.exc_info else None
    return not (error is not None and record.name == "pgqueuer" and _TOLD in error.__dict__)


class StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what is stderr now, which tests and daemons exchange."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        self.stream = sys.stderr
        super().emit(record)


def configure(level: str = "INFO", style: str = "console") -> None:
    """Send structlog's and the standard library's records through one formatter to stderr."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _redacted,
    ]
    renderer: structlog.typing.Processor
    if style == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        plain = structlog.dev.plain_traceback
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
    last = structlog.stdlib.ProcessorFormatter.wrap_for_formatter
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, last],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": shared,
        "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    }
    logging.config.dictConfig(_plan(level, formatter))


def _plan(level: str, formatter: dict[str, Any]) -> dict[str, Any]:
    """Return what the standard library's loggers do."""
    quiet = {"level": "WARNING"}  # these log addresses with keys in them, or every connection or job
    quieted = ("httpx2", "httpcore2", "asyncio", "alembic", "pgqueuer", "uvicorn")
    stderr = {"()": StderrHandler, "formatter": "structured", "filters": ["news"]}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"structured": formatter},
        "filters": {"news": {"()": lambda: _is_news}},
        "handlers": {"stderr": stderr},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": dict.fromkeys(quieted, quiet),
    }
