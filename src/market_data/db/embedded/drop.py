"""Gives up rights, then becomes another program.

Run by path as a script (``python -I -S drop.py MODE UID GID wait|detach PROGRAM ARGS...``): it must import
nothing of this package, so that it starts in about 10 ms and, being a process of its own with one thread, may
enter a user namespace and fork, neither of which a threaded caller can do safely. ``MODE`` is

- ``plain``: stay who we are;
- ``setuid``: become the account UID:GID for good;
- ``namespace``: keep our account on disk, but appear as UID:GID to the program, inside a user namespace of
  its own (PostgreSQL refuses uid 0, and an uid without a passwd entry).

``detach`` leaves the program running and returns at once; the caller gave us a session of our own.
"""

import errno
import os
import sys
from pathlib import Path

CLONE_NEWUSER = 0x10000000


def enter_namespace(uid: int, gid: int) -> None:
    """Enter a new user namespace where our account is called ``uid``:``gid``. Linux only."""
    # Imported here: most starts need no namespace, and ctypes doubles the start time of this script.
    import ctypes  # noqa: PLC0415 # see above

    outer_uid, outer_gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "unshare"):
        raise OSError(errno.ENOSYS, "only Linux has user namespaces")
    if libc.unshare(CLONE_NEWUSER) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"this system allows no user namespace ({os.strerror(number)})")
    # The kernel accepts a group map from a process without rights outside only after this denial.
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{uid} {outer_uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{gid} {outer_gid} 1", encoding="ascii")


def become(uid: int, gid: int) -> None:
    """Turn from root into ``uid``:``gid``, with no way back."""
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def detach() -> None:
    """Go on as a child that init adopts; the caller sees us end at once, and has nobody to reap later."""
    # A session's leader would get a terminal by merely opening one: its child cannot.
    if os.fork() > 0:
        os._exit(0)


def main(arguments: list[str]) -> None:
    """Do as the module says; ends in the program, or with 126 and the reason on stderr."""
    mode, uid, gid, how, *command = arguments
    os.umask(0o077)
    try:
        if how == "detach":
            detach()
        if mode == "namespace":
            enter_namespace(int(uid), int(gid))
        elif mode == "setuid":
            become(int(uid), int(gid))
        os.execv(command[0], command)  # noqa: S606 - becoming the caller's own program is the purpose
    except OSError as error:
        sys.stderr.write(f"cannot run {command[0]} ({mode}): {error}\n")
        sys.stderr.flush()
        os._exit(126)


if __name__ == "__main__":
    main(sys.argv[1:])
