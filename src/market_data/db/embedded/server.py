"""The embedded server as its users see it: start, a URL, stop."""

import fcntl
import logging
import os
import sys
import threading
import weakref
from pathlib import Path
from types import TracebackType
from typing import Self

from market_data.core.exceptions import DatabaseUnavailable
from market_data.db.embedded import binaries, folder, locks, privileges
from market_data.db.embedded.cluster import ROLE
from market_data.db.embedded.folder import Folder
from market_data.db.embedded.postmaster import Starter
from market_data.db.embedded.probe import DATABASE

logger = logging.getLogger(__name__)

PACKAGE_ROOT = Path(__file__).parents[3]

# Commands given one after another share a server.
GRACE_SECONDS = 1.0


class EmbeddedServer:
    """A PostgreSQL server under ``data_dir``, shared with every other process that uses the same folder.

    Any number of these objects, threads and processes may use one server. It runs as long as one of them has
    it started; a process that dies counts as having left. A forked child counts as a user of its own until it
    stops or ends. All calls block; `DatabaseUnavailable` says what is wrong when the server cannot be had.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._folder = Folder(Path(os.path.abspath(data_dir)) / "postgres")  # noqa: PTH100 - keeps symlinks
        self._mutex = threading.Lock()
        self._users: int | None = None
        _instances.add(self)

    @property
    def bin_dir(self) -> Path:
        """Folder of the PostgreSQL programs that fit this server; most, not all, hold ``psql``."""
        return binaries.select(self._folder.cluster).bin_dir

    def start(self) -> str:
        """Ensure a live server, join its users, return its URL; safe to repeat, e.g. after a crash."""
        with self._mutex, folder.explained(self._data_dir):
            folder.create(self._data_dir)
            try:
                self._join()
                with locks.exclusive(self._folder.start_lock) as start_lock:
                    ensure_watcher(self._folder)
                    port = Starter(self._folder, start_lock).ensure()
                password = self._folder.read_password()
            except BaseException:
                self._leave()
                raise
        if password is None:
            raise DatabaseUnavailable(f"{self._folder.password_file} vanished during the start: start again")
        return f"postgresql://{ROLE}:{password}@127.0.0.1:{port}/{DATABASE}"

    def stop(self) -> None:
        """Leave the server, which is stopped soon after the last user left; safe to repeat."""
        with self._mutex:
            self._leave()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _join(self) -> None:
        path = self._folder.users_lock
        if self._users is not None and locks.is_current(self._users, path):
            return
        self._leave()
        try:
            self._users = locks.lock(path, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("waiting for the database server to finish stopping")
            self._users = locks.lock(path, fcntl.LOCK_SH)

    def _leave(self) -> None:
        # Closed and not unlocked: a forked child may hold a copy, and is then a user still.
        if self._users is not None:
            os.close(self._users)
            self._users = None


def ensure_watcher(where: Folder) -> None:
    """Start the process that stops the server when nobody is left, unless it lives; its lock goes with it."""
    lock = locks.try_exclusive(where.watcher_lock)
    if lock is None:
        return
    with locks.handed_over(lock):
        program = [sys.executable, "-P", "-m", "market_data.db.embedded.watcher", str(where.root), str(lock)]
        program.append(str(GRACE_SECONDS))
        # It works in another folder, where relative entries would lead nowhere.
        inherited = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
        path = os.pathsep.join([str(PACKAGE_ROOT), *(str(Path(entry).absolute()) for entry in inherited)])
        log = locks.open_file(where.watcher_log, append=True)
        try:
            privileges.spawn(
                privileges.ourselves(), program, log=log, keep=lock, env={**os.environ, "PYTHONPATH": path}
            )
        finally:
            os.close(log)


_instances: weakref.WeakSet[EmbeddedServer] = weakref.WeakSet()


def _renew_mutexes() -> None:
    # Another thread may have held one at the moment of the fork, and is not in the child to release it.
    for server in _instances:
        server._mutex = threading.Lock()  # noqa: SLF001 - same module


os.register_at_fork(after_in_child=_renew_mutexes)
