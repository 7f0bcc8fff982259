"""Other processes: whether they are there, what they work on, and signals that reach nobody else."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path


def exists(pid: int) -> bool:
    """Whether some process has this pid."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def is_postmaster(pid: int, data: Path) -> bool:
    """Whether a process is PostgreSQL at work in a data folder."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/cwd").samefile(data)
        except OSError:
            return False
    else:
        name = subprocess.run(  # noqa: S603 - fixed program, numeric argument
            ["/bin/ps", "-p", str(pid), "-o", "comm="], capture_output=True, text=True, check=False
        )
        return name.stdout.strip().endswith("postgres")


class Process:
    """A process that signals reach even if its pid is given to another one (where the system has pidfds)."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        if sys.platform == "linux":
            self._descriptor = os.pidfd_open(pid)
        else:
            self._descriptor = -1

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process is gone."""
        with suppress(ProcessLookupError):
            if sys.platform == "linux":
                signal.pidfd_send_signal(self._descriptor, number)
            else:
                os.kill(self.pid, number)

    def close(self) -> None:
        """Let go of the process."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
