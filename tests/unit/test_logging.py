"""Logs: one formatter for all, ids in every line, and never a secret."""

import json
import logging

import pytest
import structlog

from market_data.core import logging as ours
from tests.support.command import reset_logging


@pytest.fixture(autouse=True)
def _afterwards(monkeypatch):
    monkeypatch.setattr(ours, "_SECRETS", set())
    yield
    reset_logging()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def lines(capsys):
    """Return what was logged since: JSON lines as dictionaries."""
    ours.configure("INFO", "json")
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_both_kinds_of_loggers_write_the_same_way(lines):
    structlog.contextvars.bind_contextvars(request_id="r1", run_id=7)
    structlog.get_logger("market_data.a").info("stored", bars=3, share=0.5, done=True, gap=None)
    logging.getLogger("some.library").warning("odd %s", "thing")
    first, second = lines()
    assert (first["event"], first["level"], first["logger"]) == ("stored", "info", "market_data.a")
    assert (first["bars"], first["share"], first["done"], first["gap"]) == (3, 0.5, True, None)
    assert (second["event"], second["level"], second["logger"]) == ("odd thing", "warning", "some.library")
    assert first["request_id"] == second["request_id"] == "r1"
    assert first["run_id"] == second["run_id"] == 7
    assert first["timestamp"].endswith("Z")


def test_levels_and_noisy_libraries(lines):
    structlog.get_logger("a").debug("unseen")
    for name in ("httpx2", "httpcore2.connection", "uvicorn.access", "asyncio", "alembic.runtime"):
        logging.getLogger(name).info("unseen: https://x/?apikey=K3Y")
    logging.getLogger("uvicorn.error").warning("seen")
    assert [line["event"] for line in lines()] == ["seen"]


def test_known_secrets_are_blanked_out_wherever_they_stand(lines):
    ours.hide("K3Y", "")
    structlog.get_logger("a").info(
        "K3Y in text", url=["x?k=K3Y"], more={"deep": ("K3Y",), "K": 1}, error=ValueError("about K3Y")
    )
    logging.getLogger("b").error("formatted %s", "K3Y")
    written = json.dumps(lines())
    assert "K3Y" not in written
    assert written.count("***") == 5


def test_tracebacks_hold_no_secrets(lines):
    ours.hide("K3Y")
    for logger in (structlog.get_logger("a"), logging.getLogger("b")):
        try:
            raise ValueError("asked https://x/?token=abc with K3Y")  # noqa: TRY301 # to be logged
        except ValueError:
            logger.exception("failed")
    for line in lines():
        assert "Traceback" in line["exception"]
        assert "K3Y" not in line["exception"]
        assert "abc" not in line["exception"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://x/query?symbol=IBM&apikey=demo&y=1", "https://x/query?symbol=IBM&apikey=***&y=1"),
        ("https://x/?api_key=demo", "https://x/?api_key=***"),
        ("postgresql://user:pass@host/db", "postgresql://user:***@host/db"),
        ("Authorization: Bearer abcdefgh1234", "Authorization: Bearer ***"),
        ("password=hunter2 next", "password=*** next"),
        ("nothing to hide: 12:30", "nothing to hide: 12:30"),
    ],
)
def test_what_looks_like_a_credential(text, shown):
    assert ours.redact(text) == shown


def test_for_people(capsys):
    ours.configure("WARNING", "console")
    structlog.get_logger("a").warning("mind this", bars=3)
    structlog.get_logger("a").info("unseen")
    written = capsys.readouterr().err
    assert "mind this" in written
    assert "bars=3" in written
    assert "\x1b[" not in written  # colours are for terminals
    assert "unseen" not in written
