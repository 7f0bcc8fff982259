"""What the tests download, kept for the next run beside other programs' caches, outside the checkout."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from market_data.db.embedded import locks

Make = Callable[[Path, int], Path]
"""Makes a folder inside a staging folder, and returns it; programs it starts should inherit the lock."""


def folder() -> Path:
    """Return the folder of everything kept."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "market-data-tests"


def folder_of(name: str, make: Make) -> Path:
    """Return the kept folder ``name``, made where it is missing.

    It is whole or absent: one process at a time makes it, in a staging folder, and renames that when done.
    What a killed process left goes when the next one begins, which waits for programs that outlive it.
    """
    target = folder() / name
    if target.is_dir():
        return target
    folder().mkdir(parents=True, exist_ok=True)
    with locks.exclusive(folder() / "lock") as lock:
        if target.is_dir():
            return target
        for leftover in folder().glob("new-*"):
            shutil.rmtree(leftover)
        staging = Path(tempfile.mkdtemp(prefix="new-", dir=folder()))
        try:
            make(staging, lock).rename(target)
        finally:
            shutil.rmtree(staging)
    return target
