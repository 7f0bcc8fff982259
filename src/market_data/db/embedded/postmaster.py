"""Starts the server, waits for it as long as it gives signs of life, and stops it."""

import logging
import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

from market_data.core.exceptions import DatabaseUnavailable
from market_data.db.embedded import binaries, cluster, locks, privileges
from market_data.db.embedded.folder import WAY_OUT, Folder, write_file
from market_data.db.embedded.probe import Answer, State, ask, claims
from market_data.db.embedded.process import Process, exists, is_postmaster

logger = logging.getLogger(__name__)

# Without any sign of life (an answer, a line in a log) for this long, waiting is given up.
PATIENCE_SECONDS = 60.0
REFUSAL_SECONDS = 10.0
FAST_SHUTDOWN_SECONDS = 120.0
PORT_ATTEMPTS = 5
POLL_SECONDS = 0.01
SLOWEST_POLL_SECONDS = 0.2

OLD_SERVER_DYING = "pre-existing shared memory block"


class Patience:
    """Waits for a server as long as it gives signs of life, and then says what it last heard."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._seen: object = None
        self._began = self._since = time.monotonic()
        self._pause = POLL_SECONDS
        self._told = False

    def wait(self, answer: Answer) -> None:
        """Sleep a moment, or raise `DatabaseUnavailable` when there was nothing new for too long."""
        now = time.monotonic()
        # A server that turns us away logs that each time, which is no progress.
        sizes = self._folder.log_sizes() if answer.state is State.ABSENT else None
        if (answer, sizes) != self._seen or answer.state is State.BUSY:
            self._seen, self._since = (answer, sizes), now
        silence = now - self._since
        definite = answer.state in (State.REFUSED, State.FOREIGN)
        if silence > (REFUSAL_SECONDS if definite else PATIENCE_SECONDS):
            raise DatabaseUnavailable(
                f"the server of {self._folder.cluster} cannot be used: {answer.state.value} "
                f"({answer.detail}). End what holds {self._folder.server_lock} (an old server, or one in "
                f"another container), {WAY_OUT}. Its log ends:\n{self._folder.log_since({})}"
            )
        if now - self._began > 2 and not self._told:
            self._told = True
            logger.info("waiting for the database server: %s (%s)", answer.state.value, answer.detail)
        time.sleep(self._pause)
        self._pause = min(self._pause * 1.2, SLOWEST_POLL_SECONDS)


class Starter:
    """Brings the server of a folder up; the caller holds its start lock, whose descriptor it gives."""

    def __init__(self, folder: Folder, start_lock: int) -> None:
        self._folder = folder
        self._start_lock = start_lock
        self._patience = Patience(folder)
        self._port = 0
        self._attempts = 0
        self._give_up = time.monotonic() + PATIENCE_SECONDS
        self._sizes: dict[Path, int] = {}

    def ensure(self) -> int:
        """Return the port of the live server, started where there is none."""
        while True:
            lock = locks.try_exclusive(self._folder.server_lock)
            if lock is not None:
                # Free: no process of any server that we started is left, not even an old backend.
                with locks.handed_over(lock):
                    self._launch(lock)
            answer = ask(self._folder, expected_port=self._port)
            if answer.state is State.OURS:
                return answer.port
            self._patience.wait(answer)

    def _launch(self, lock: int) -> None:
        if started_by_hand(self._folder):
            return
        self._judge_last_attempt()
        programs = binaries.select(self._folder.cluster)
        account = cluster.ensure(self._folder, programs, start_lock=self._start_lock)
        self._sizes = self._folder.log_sizes()
        self._port = choose_port(self._folder)
        self._attempts += 1
        command = [str(programs.program("postgres")), *server_options(self._folder.cluster, self._port)]
        log = cluster.open_start_log(self._folder)
        try:
            privileges.spawn(account, command, log=log, keep=lock)
        finally:
            os.close(log)

    def _judge_last_attempt(self) -> None:
        """Decide whether a server that came to its end is worth another attempt."""
        if not self._attempts:
            return
        said = self._folder.log_since(self._sizes)
        if OLD_SERVER_DYING in said and time.monotonic() < self._give_up:
            time.sleep(0.5)
        elif self._attempts >= PORT_ATTEMPTS or (self._attempts > 1 and is_free(self._port)):
            # One more attempt is due to a server that somebody killed; what is really broken fails again.
            raise DatabaseUnavailable(
                f"the PostgreSQL server of {self._folder.cluster} did not start "
                f"(log: {self._folder.start_log}); cure what it says, {WAY_OUT}. It said:\n{said}"
            )


def server_options(data: Path, port: int) -> list[str]:
    """Choose what no setting in a file may change: reachable from this machine only, and by password only."""
    fixed = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
    return ["-D", str(data), *(part for name, value in fixed.items() for part in ("-c", f"{name}={value}"))]


def choose_port(folder: Folder) -> int:
    """Take the port of the last start again, or another free one, and note it."""
    with suppress(FileNotFoundError, ValueError):
        last = int(folder.port_file.read_text(encoding="ascii"))
        if is_free(last):
            return last
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    write_file(folder.port_file, f"{port}\n")
    return port


def is_free(port: int) -> bool:
    """Whether a server could listen on a port of the loopback address now."""
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(("127.0.0.1", port))
            attempt.listen(1)
        except (OSError, OverflowError):
            return False
        return True


def started_by_hand(folder: Folder) -> bool:
    """Tell, while no server of ours lives, whether another runs on the cluster; clear a misleading pid file.

    After a crash the pid may belong to any process by now, and PostgreSQL would wait for that one to end.
    """
    if folder.postmaster_lines() is None:
        return False
    pid, _, _ = claims(folder)
    if pid and is_postmaster(pid, folder.cluster):
        return True
    if not pid or exists(pid):
        (folder.cluster / "postmaster.pid").unlink(missing_ok=True)
    return False


def stop(folder: Folder) -> None:
    """Shut the server down and return when no process of it is left; the caller knows that it has no users.

    Raises `DatabaseUnavailable` when something holds the folder that does not answer.
    """
    patience = Patience(folder)
    process: Process | None = None
    quit_at = 0.0
    while (lock := locks.try_exclusive(folder.server_lock)) is None:
        answer = ask(folder)
        if process is None and answer.state is State.OURS:
            process = verified(folder, answer.pid)
            if process:
                process.send(signal.SIGINT)
                quit_at = time.monotonic() + FAST_SHUTDOWN_SECONDS
        if process and time.monotonic() > quit_at:
            # Safe, and repaired by the next start; a stuck backend would keep all newcomers waiting.
            process.send(signal.SIGQUIT)
            quit_at = time.monotonic() + FAST_SHUTDOWN_SECONDS
        patience.wait(answer)
    if process:
        process.close()
    os.close(lock)


def verified(folder: Folder, pid: int) -> Process | None:
    """Take hold of the postmaster: found first and asked again afterwards, so that it is no other process."""
    try:
        process = Process(pid)
    except ProcessLookupError:
        return None
    if is_postmaster(pid, folder.cluster) and ask(folder).pid == pid:
        return process
    process.close()
    return None
