"""What the tests that start real processes share."""

import pytest

from tests.support.command import clean_environment
from tests.support.fixtures import bare, here, stored

__all__ = ["bare", "here", "stored"]


@pytest.fixture
def env(tmp_path) -> dict[str, str]:
    """Environment of commands that work on a data folder of this test."""
    return clean_environment(DATA_DIR=str(tmp_path / "data of a test"))
