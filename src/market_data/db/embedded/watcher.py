"""A process of its own that stops the server once nobody uses it, however its users ended.

Run as ``python -m market_data.db.embedded.watcher FOLDER DESCRIPTOR``, where the descriptor is the inherited,
locked ``watcher.lock``. It waits for the exclusive lock on ``users.lock``, which every user holds shared:
newcomers wait while it holds that lock, then find neither a server nor a watcher, and start both.
"""

import fcntl
import os
import sys
import time
from pathlib import Path

from market_data.db.embedded import locks, postmaster
from market_data.db.embedded.folder import Folder

# Commands given one after another share a server.
GRACE_SECONDS = 1.0


def wait_until_unused(users: int) -> None:
    """Return with the exclusive lock on ``users`` held, after nobody held it for the grace period."""
    while True:
        fcntl.flock(users, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_UN)
        time.sleep(GRACE_SECONDS)
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        return


def watch(folder: Folder, own_lock: int) -> None:
    """Wait for the last user to leave, stop the server, and leave too."""
    users = locks.open_file(folder.users_lock)
    wait_until_unused(users)
    # A data folder that was deleted, and perhaps made anew, has another watcher; ours has nothing left to do.
    if locks.is_current(own_lock, folder.watcher_lock) and locks.is_current(users, folder.users_lock):
        postmaster.stop(folder)
    # In this order: whoever gets the users' lock next must not take us for a watcher that still watches.
    os.close(own_lock)
    os.close(users)


if __name__ == "__main__":
    watch(Folder(Path(sys.argv[1])), int(sys.argv[2]))
