"""PostgreSQL as most people have it: the embedded server, or the one TEST_DATABASE_URL names."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from market_data.db.embedded import EmbeddedServer


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Give the address of a server on which databases may be created."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield given
        return
    embedded = EmbeddedServer(folder)
    yield embedded.start()
    embedded.stop()
