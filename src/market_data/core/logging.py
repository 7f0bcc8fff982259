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
    quiet = {"level": "WARNING"}  # these log addresses with keys in them, or every connection
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"structured": formatter},
            "handlers": {"stderr": {"()": StderrHandler, "formatter": "structured"}},
            "root": {"handlers": ["stderr"], "level": level},
            "loggers": dict.fromkeys(("httpx2", "httpcore2", "asyncio", "alembic", "uvicorn"), quiet),
        }
    )
