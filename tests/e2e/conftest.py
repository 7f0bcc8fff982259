"""What the tests that start real processes share."""

import signal

import pytest

from tests.support.command import clean_environment
from tests.support.fixtures import bare, here, stored

__all__ = ["bare", "here", "stored"]


@pytest.fixture
def env(tmp_path) -> dict[str, str]:
    """Environment of commands that work on a data folder of this test."""
    return clean_environment(DATA_DIR=str(tmp_path / "data of a test"))


@pytest.fixture(scope="session", autouse=True)
def _hear_ctrl_c() -> None:
    """A shell that runs the tests in the background makes them, and their children, deaf to Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
