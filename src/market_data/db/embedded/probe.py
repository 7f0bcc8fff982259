"""Asks a server whether it is alive and ours: the only proof that is believed."""

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from market_data.db.embedded.cluster import ROLE
from market_data.db.embedded.folder import Folder
from market_data.db.embedded.process import is_postmaster

if TYPE_CHECKING:
    import asyncpg

DATABASE = "market_data"
CONNECT_SECONDS = 5.0
QUERY_SECONDS = 30.0

QUESTION = r"""
SELECT current_setting('data_directory'),
       split_part(pg_read_file('postmaster.pid'), E'\n', 1)::int,
       EXISTS (SELECT FROM pg_database WHERE datname = $1)
"""


class State(Enum):
    """What a server's answer means."""

    OURS = "it is ours and works"
    BUSY = "it is starting up or shutting down"
    FULL = "it has no connection left"
    REFUSED = "it does not accept our password"
    FOREIGN = "it has another data folder"
    ABSENT = "nobody answers"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; ``port`` and ``pid`` (of the postmaster, by its own word) are 0 where unknown."""

    state: State
    detail: str = ""
    port: int = 0
    pid: int = 0


def ask(folder: Folder, *, expected_port: int = 0) -> Answer:
    """Ask the server that `postmaster.pid` points to whether it is ``folder``'s; see to its database.

    That file may be stale. Where the caller knows which port the server was started on, no other one is
    asked, and until it says more than "starting", its process is looked at instead: another program may have
    the port.
    """
    pid, port, status = claims(folder)
    password = folder.read_password()
    if not port or expected_port not in (0, port):
        return Answer(State.ABSENT, "it has not opened its port")
    if status in ("", "starting"):
        alive = is_postmaster(pid, folder.cluster)
        return Answer(State.BUSY if alive else State.ABSENT, "it has not opened its database")
    if password is None:
        return Answer(State.REFUSED, f"{folder.password_file} is missing")
    # A thread has no event loop yet, whatever the caller's runs.
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(_run, folder, port, password).result()


def claims(folder: Folder) -> tuple[int, int, str]:
    """Read pid, port and status that the last server claimed; 0, 0 and nothing where it claims none."""
    lines = [line.strip() for line in folder.postmaster_lines() or []]
    lines += [""] * (8 - len(lines))
    pid, port = (int(line) if line.isdigit() else 0 for line in (lines[0], lines[3]))
    return pid, port, lines[7]


def _run(folder: Folder, port: int, password: str) -> Answer:
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(_converse(folder, port, password))


async def _converse(folder: Folder, port: int, password: str) -> Answer:
    # Imported late: the watcher waits for days, and should weigh little meanwhile.
    import asyncpg  # noqa: PLC0415 # see above

    try:
        connection = await asyncpg.connect(
            host="127.0.0.1",
            port=port,
            user=ROLE,
            password=password,
            database="postgres",
            ssl=False,
            timeout=CONNECT_SECONDS,
            command_timeout=QUERY_SECONDS,
            target_session_attrs="any",
        )
        try:
            return await _identify(connection, folder, port)
        finally:
            with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError):
                await connection.close(timeout=CONNECT_SECONDS)
    except asyncpg.CannotConnectNowError as error:
        return Answer(State.BUSY, str(error))
    except asyncpg.TooManyConnectionsError as error:
        return Answer(State.FULL, str(error))
    except asyncpg.InvalidAuthorizationSpecificationError as error:
        return Answer(State.REFUSED, str(error))
    except (OSError, EOFError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return Answer(State.ABSENT, str(error) or type(error).__name__)
    except asyncpg.InternalClientError as error:
        return Answer(State.FOREIGN, f"what answers is no PostgreSQL server: {error}")


async def _identify(connection: "asyncpg.Connection", folder: Folder, port: int) -> Answer:
    directory, pid, has_database = await connection.fetchrow(QUESTION, DATABASE)
    if not same_folder(directory, folder.cluster):
        return Answer(State.FOREIGN, f"the server on port {port} serves {directory}")
    if not has_database:
        await connection.execute(f"CREATE DATABASE {DATABASE}")
    return Answer(State.OURS, port=port, pid=pid)


def same_folder(directory: str, cluster: Path) -> bool:
    """Whether a server's data directory is the cluster, by whatever name it was reached."""
    try:
        return Path(directory).samefile(cluster)
    except OSError:
        return False
