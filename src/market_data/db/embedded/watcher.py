"""A process of its own that stops the server once nobody uses it, however its users ended.

Run as ``python -m market_data.db.embedded.watcher FOLDER DESCRIPTOR GRACE``, where the descriptor is the
inherited, locked ``watcher.lock`` and the grace period is in seconds. It waits for the exclusive lock on
``users.lock``, which every user holds shared: newcomers wait while it holds that lock, then find neither a
server nor a watcher, and start both.
"""

import fcntl
import os
import sys
import time
from pathlib import Path

from market_data.db.embedded import locks, postmaster
from market_data.db.embedded.folder import Folder


def wait_until_unused(users: int, grace: float) -> None:
    """Return with the exclusive lock on ``users``, once nobody held it before and after ``grace`` seconds."""
    while True:
        fcntl.flock(users, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_UN)
        time.sleep(grace)
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        return


def watch(folder: Folder, own_lock: int, grace: float) -> None:
    """Wait for the last user to leave, stop the server, and leave too."""
    users = locks.open_file(folder.users_lock)
    wait_until_unused(users, grace)
    # A data folder that was deleted, and perhaps made anew, has another watcher; ours has nothing left to do.
    if locks.is_current(own_lock, folder.watcher_lock) and locks.is_current(users, folder.users_lock):
        postmaster.stop(folder)
    # In this order: whoever gets the users' lock next must not take us for a watcher that still watches.
    os.close(own_lock)
    os.close(users)


if __name__ == "__main__":
    watch(Folder(Path(sys.argv[1])), int(sys.argv[2]), float(sys.argv[3]))
