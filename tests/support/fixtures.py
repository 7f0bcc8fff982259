"""Fixtures for tests of the command line; `conftest.py` of the folders that need them imports these."""

import os

import pytest

from market_data.core.config import get_settings
from tests.support.command import OURS, VENDORS, clean_environment, invoke, reset_logging


@pytest.fixture
def bare(monkeypatch):
    """Commands in this process, without any setting from the environment; yields the monkeypatch."""
    for name in [name for name in os.environ if name.startswith((*OURS, *VENDORS))]:
        monkeypatch.delenv(name)
    get_settings.cache_clear()
    yield monkeypatch
    get_settings.cache_clear()
    reset_logging()


@pytest.fixture
def here(database, bare):
    """Commands in this process, on the migrated database; yields the monkeypatch."""
    bare.setenv("DATABASE_URL", database.url)
    get_settings.cache_clear()
    return bare


@pytest.fixture
def stored(database) -> dict[str, str]:
    """Environment of commands that are processes of their own, on the migrated database."""
    return clean_environment(DATABASE_URL=database.url)


@pytest.fixture
def apple(here) -> None:
    """An instrument and five daily bars, from the source `file`."""
    added = ["--exchange", "XNAS", "--asset-class", "equity", "--currency", "USD", "--name", "Apple Inc."]
    assert invoke("instruments", "add", "AAPL", *added).code == 0
    assert invoke("import", "-", "--symbol", "AAPL", "--interval", "1d", stdin=APPLE).code == 0


APPLE = b"""Date,Open,High,Low,Close,Volume
2024-01-02,187.15,188.44,183.885,185.64,82488700
2024-01-03,184.22,185.88,183.43,184.25,58414500
2024-01-04,182.15,183.0872,180.88,181.91,71983600
2024-01-05,181.99,182.76,180.17,181.18,62303300
2024-01-08,182.085,185.6,181.5,185.56,
"""
