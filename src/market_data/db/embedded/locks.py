"""Locks on files, which the kernel drops with their last holder, however that one died.

A ``flock`` belongs to an open file, which copies of its descriptor share: a lock is handed to another process
by letting it inherit the descriptor, and lives until the last process that has one is gone.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from market_data.core.exceptions import DatabaseUnavailable

# Descriptors of a start in progress. A fork in another thread copies them, and would keep their locks alive.
_in_progress: set[int] = set()


def _close_copies() -> None:
    """Close, in a forked child, what belongs to a start that goes on in its parent only."""
    for descriptor in _in_progress:
        os.close(descriptor)
    _in_progress.clear()


os.register_at_fork(after_in_child=_close_copies)


def open_file(path: Path, *, append: bool = False) -> int:
    """Open a file of ours for reading and writing, made 0600 and given to its folder's owner when new."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_APPEND if append else 0)
    descriptor = os.open(path, flags, 0o600)
    give_to_owner_of(path.parent, descriptor)
    return descriptor


def give_to_owner_of(folder: Path, target: int | Path) -> None:
    """Hand what root makes in another's folder to that other, who could not use it otherwise."""
    owner = folder.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        return
    if isinstance(target, int):
        os.fchown(target, owner.st_uid, owner.st_gid)
    else:
        os.chown(target, owner.st_uid, owner.st_gid, follow_symlinks=False)


def is_current(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one under that name; a deleted folder leaves locks on nothing."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def lock(path: Path, operation: int) -> int:
    """Wait for a lock on the file now at ``path`` and return its descriptor."""
    while True:
        descriptor = open_file(path)
        try:
            _flock(descriptor, operation, path)
            if is_current(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def try_exclusive(path: Path) -> int | None:
    """Take the exclusive lock if nobody holds any; None when somebody does."""
    try:
        return lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None


def _flock(descriptor: int, operation: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, operation)
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
            raise DatabaseUnavailable(
                f"the file system of {path.parent} has no file locks ({error.strerror}): point DATA_DIR to a "
                "folder on a local disk, or set DATABASE_URL to a server of your own"
            ) from error
        raise


@contextmanager
def handed_over(descriptor: int) -> Iterator[int]:
    """Hold a locked descriptor while a program that inherits it is started, then close our own copy."""
    _in_progress.add(descriptor)
    try:
        yield descriptor
    finally:
        _in_progress.discard(descriptor)
        os.close(descriptor)


@contextmanager
def exclusive(path: Path) -> Iterator[int]:
    """Hold the exclusive lock on a file."""
    with handed_over(lock(path, fcntl.LOCK_EX)) as descriptor:
        try:
            yield descriptor
        finally:
            # Said aloud, because closing alone would leave the lock to a copy in a forked child.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
