"""Where the real recordings lie, which stay out of the repository."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("MARKET_DATA_SHARED", Path(__file__).parents[3] / "shared"))
DATA = SHARED / "data"

needs_shared_data = pytest.mark.skipif(not DATA.is_dir(), reason="not run: ../shared/data is absent")


def read(name: str) -> bytes:
    return (DATA / name).read_bytes()
