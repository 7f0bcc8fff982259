"""Where everything of one server lies, and what its logs say.

``DATA_DIR/postgres`` holds files of ours (locks, password, port, the log of starts) and ``cluster``, which
belongs to the account that runs the server. Nothing above or beside it is ever changed.
"""

import os
import pwd
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from market_data.core.exceptions import DatabaseUnavailable
from market_data.db.embedded import locks

# PostgreSQL keeps a path in 1024 bytes (MAXPGPATH) and appends up to some 60 for its own files.
MAX_PATH_BYTES = 950

WAY_OUT = "or point DATA_DIR to another folder, or set DATABASE_URL to a server of your own"


@dataclass(frozen=True, slots=True)
class Folder:
    """The names of all files of one embedded server; ``root`` is absolute."""

    root: Path

    @property
    def cluster(self) -> Path:
        """PostgreSQL's data directory; exists only once it is complete."""
        return self.root / "cluster"

    @property
    def password_file(self) -> Path:
        """The password of the role, readable by its owner only."""
        return self.root / "password"

    @property
    def port_file(self) -> Path:
        """The port of the last start, taken again where it is free: addresses given to tools stay true."""
        return self.root / "port"

    @property
    def start_log(self) -> Path:
        """What initdb and the server say before the server's own log opens."""
        return self.root / "start.log"

    @property
    def watcher_log(self) -> Path:
        """What the watcher says, which is nothing unless it breaks."""
        return self.root / "watcher.log"

    @property
    def users_lock(self) -> Path:
        """Held shared by every process that uses the server."""
        return self.root / "users.lock"

    @property
    def start_lock(self) -> Path:
        """Held by the one process that makes or starts the server."""
        return self.root / "start.lock"

    @property
    def server_lock(self) -> Path:
        """Held by all processes of the server, as an inherited descriptor: free only when none is left."""
        return self.root / "server.lock"

    @property
    def watcher_lock(self) -> Path:
        """Held by the watcher for as long as it lives."""
        return self.root / "watcher.lock"

    def read_password(self) -> str | None:
        """Read the password; None when there is none yet."""
        try:
            return self.password_file.read_text(encoding="ascii").strip() or None
        except FileNotFoundError:
            return None

    def postmaster_lines(self) -> list[str] | None:
        """Read postmaster.pid, a hint and never a proof: [pid, data directory, start time, port, ...]."""
        try:
            return (
                (self.cluster / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
            )
        except FileNotFoundError:
            return None

    def log_sizes(self) -> dict[Path, int]:
        """Sizes of all logs of the server: what grew later is in `log_since`."""
        sizes = {}
        for log in [self.start_log, *sorted((self.cluster / "log").glob("*.log"))]:
            with suppress(FileNotFoundError):
                sizes[log] = log.stat().st_size
        return sizes

    def log_since(self, sizes: dict[Path, int], lines: int = 15) -> str:
        """Return the last lines that the logs got since `log_sizes`, for a message or a diagnosis."""
        fresh: list[str] = []
        for log, size in self.log_sizes().items():
            with suppress(FileNotFoundError), log.open("rb") as stream:
                stream.seek(max(sizes.get(log, 0), size - 65536))
                fresh += stream.read().decode("utf-8", errors="replace").splitlines()
        return "\n".join(fresh[-lines:])


def create(data_dir: Path) -> Folder:
    """Make the folder, and the data folder where it is missing, for the account that owns what is above.

    Raises `DatabaseUnavailable` when it belongs to somebody else or PostgreSQL could not handle its path.
    """
    folder = Folder(Path(os.path.abspath(data_dir)) / "postgres")  # noqa: PTH100 - resolve() would undo symlinks
    check_path(folder.root)
    for path in reversed([folder.root, *folder.root.parents]):
        if not path.exists():
            with suppress(FileExistsError):
                path.mkdir(mode=0o700 if path == folder.root else 0o777)
                locks.give_to_owner_of(path.parent, path)
    owner = folder.root.stat().st_uid
    if os.geteuid() not in (0, owner):
        raise DatabaseUnavailable(
            f"the data folder {folder.root} belongs to {account_name(owner)}, not to "
            f"{account_name(os.geteuid())}: run this as {account_name(owner)}, {WAY_OUT}"
        )
    return folder


def check_path(path: Path) -> None:
    """Refuse a path that PostgreSQL cannot take."""
    try:
        length = len(str(path).encode("utf-8"))
    except UnicodeEncodeError:
        raise DatabaseUnavailable(
            f"the data folder {str(path)!r} is not valid UTF-8: rename it, {WAY_OUT}"
        ) from None
    if length > MAX_PATH_BYTES or "\n" in str(path):
        raise DatabaseUnavailable(
            f"PostgreSQL cannot use the data folder {str(path)!r}: at most {MAX_PATH_BYTES} bytes and no "
            f"line break; rename it, {WAY_OUT}"
        )


def account_name(uid: int) -> str:
    """Name of an account, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def write_file(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file in one step, durable, owned like its folder, never through a link planted there."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        locks.give_to_owner_of(path.parent, descriptor)
        stream.write(text)
        stream.flush()
        os.fsync(descriptor)
    temporary.replace(path)


@contextmanager
def explained(data_dir: Path) -> Iterator[None]:
    """Turn what the operating system refuses into a sentence with a way out."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise DatabaseUnavailable(
            f"the data folder {data_dir} cannot be used: {error.strerror or error}{where}; "
            f"make it a writable folder of {account_name(os.geteuid())}, {WAY_OUT}"
        ) from error
