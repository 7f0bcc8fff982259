"""Decides as whom the server runs, and starts programs as that account.

PostgreSQL refuses root. As root we become the owner of the data folder, or `nobody`, where that account can
reach the files; elsewhere (a virtual environment under /root) the program runs in a user namespace, in which
root has another number and the files need no new owner. An ordinary user stays who he is.
"""

import os
import pwd
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from market_data.core.exceptions import DatabaseUnavailable
from market_data.db.embedded.folder import WAY_OUT, account_name

DROP = Path(__file__).with_name("drop.py")


@dataclass(frozen=True, slots=True)
class Account:
    """An account to run programs as, by the way that leads to it (see `drop`)."""

    mode: Literal["plain", "setuid", "namespace"]
    uid: int
    gid: int

    def command(self, how: Literal["wait", "detach"], arguments: list[str]) -> list[str]:
        """Build the command line that runs ``arguments`` as this account."""
        who = [self.mode, str(self.uid), str(self.gid)]
        return [sys.executable, "-I", "-S", str(DROP), *who, how, *arguments]

    def give(self, *paths: Path) -> None:
        """Hand over files that we made for this account, who could not open them otherwise."""
        uid, gid = (self.uid, self.gid) if self.mode == "setuid" else (os.geteuid(), os.getegid())
        for path in paths:
            if path.lstat().st_uid != uid:
                os.chown(path, uid, gid, follow_symlinks=False)


def ourselves() -> Account:
    """Return the account of this process, unchanged."""
    return Account("plain", os.geteuid(), os.getegid())


def environment() -> dict[str, str]:
    """Build an environment in which PostgreSQL speaks English and takes no setting from the caller."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PG", "LC_", "PYTHON")) and name not in ("LANG", "LANGUAGE", "TZ")
    }
    return {**inherited, "LC_ALL": "C", "TZ": "UTC"}


def run(
    account: Account, arguments: list[str], *, log: int, keep: tuple[int, ...] = (), feed: str = ""
) -> int:
    """Run a program to its end, its output in ``log``, and return its exit code.

    ``keep`` are locks that it shall hold for as long as it runs, even when we are killed meanwhile.
    """
    command = account.command("wait", arguments)
    done = subprocess.run(  # noqa: S603 - PostgreSQL's own programs
        command,
        input=feed.encode(),
        stdout=log,
        stderr=log,
        cwd="/",
        env=environment(),
        pass_fds=keep,
        check=False,
    )
    return done.returncode


def spawn(
    account: Account, arguments: list[str], *, log: int, keep: int, env: dict[str, str] | None = None
) -> None:
    """Start a program in a session of its own that outlives us and holds the lock ``keep``."""
    command = account.command("detach", arguments)
    launcher = subprocess.run(  # noqa: S603 - the server and its watcher
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd="/",
        env=env or environment(),
        pass_fds=(keep,),
        # Ctrl-C in the terminal must end the server only by way of its users leaving.
        start_new_session=True,
        check=False,
    )
    if launcher.returncode:
        raise DatabaseUnavailable(f"{arguments[0]} could not be started as {account_name(account.uid)}")


def of_cluster(cluster: Path) -> Account:
    """Choose the account for an existing cluster: its owner, whoever made it."""
    owner = cluster.stat()
    if os.geteuid() == 0:
        return Account("setuid", owner.st_uid, owner.st_gid) if owner.st_uid else namespace()
    if owner.st_uid != os.geteuid():
        raise DatabaseUnavailable(
            f"the database in {cluster} belongs to {account_name(owner.st_uid)}, not to "
            f"{account_name(os.geteuid())}: run this as {account_name(owner.st_uid)} or root, {WAY_OUT}"
        )
    return ourselves() if has_name(owner.st_uid) else namespace()


def of_new_cluster(staging: Path, postgres: Path, *, log: int) -> Account:
    """Choose the account for a cluster to be made in ``staging``, a folder of ours, and give it that."""
    if os.geteuid() != 0:
        return ourselves() if has_name(os.geteuid()) else namespace()
    root = staging.parent
    candidate = heir(root)
    if candidate:
        if root.stat().st_uid == 0:
            # The folder is ours and holds only private files: others may pass through, and see nothing.
            root.chmod(0o711)
        candidate.give(staging)
        if reaches(candidate, staging, postgres, log=log):
            return candidate
    account = namespace()
    account.give(staging)
    if reaches(account, staging, postgres, log=log):
        return account
    who = account_name(candidate.uid) if candidate else "an ordinary account"
    raise DatabaseUnavailable(
        f"PostgreSQL does not run as root, {who} cannot reach both {staging.parent} and {postgres}, and this "
        f"system allows no user namespace: run this as an ordinary user, or install it and put DATA_DIR "
        f"where others may enter, or set DATABASE_URL to a server of your own"
    )


def heir(folder: Path) -> Account | None:
    """Choose who runs the server instead of root: the owner of the folder, else `nobody`."""
    owner = folder.stat()
    if owner.st_uid and has_name(owner.st_uid):
        return Account("setuid", owner.st_uid, owner.st_gid)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        return None
    return Account("setuid", nobody.pw_uid, nobody.pw_gid)


def namespace() -> Account:
    """Choose a number for us inside a user namespace: one with a name, which initdb looks up."""
    entries = {entry.pw_uid: entry for entry in reversed(pwd.getpwall()) if entry.pw_uid}
    if not entries:
        raise DatabaseUnavailable(
            "this system knows no account but root, and PostgreSQL does not run as root: add a user, "
            "or set DATABASE_URL to a server of your own"
        )
    chosen = next((entry for entry in entries.values() if entry.pw_name == "nobody"), entries[max(entries)])
    return Account("namespace", chosen.pw_uid, chosen.pw_gid)


def reaches(account: Account, folder: Path, program: Path, *, log: int) -> bool:
    """Whether an account can write to a folder and run a program: tried, as modes do not tell all (ACLs)."""
    attempt = 'cd "$1" && test -w . && exec "$2" --version'
    return run(account, ["/bin/sh", "-c", attempt, "sh", str(folder), str(program)], log=log) == 0


def has_name(uid: int) -> bool:
    """Whether an account has a passwd entry, without which initdb refuses to work."""
    try:
        return bool(pwd.getpwuid(uid))
    except KeyError:
        return False
