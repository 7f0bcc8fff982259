"""Makes the cluster, once and whole, and writes its settings at every start."""

import os
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path

from market_data.core.exceptions import DatabaseUnavailable
from market_data.db.embedded import locks, privileges
from market_data.db.embedded.binaries import Binaries
from market_data.db.embedded.folder import WAY_OUT, Folder, write_file
from market_data.db.embedded.privileges import Account

ROLE = "market_data"
SETTINGS_FILE = "market_data.conf"
LOG_DAYS = 6

HOST_RULES = """\
# Written by market-data when the cluster was made: a password for everybody, from this machine only.
host  all  all  127.0.0.1/32  scram-sha-256
"""

# What must hold whatever a user sets (address, port, sockets) stands on the command line, see `postmaster`.
SETTINGS = """\
# Written by market-data at every start; change a setting by ALTER SYSTEM SET, which wins over this file.
max_connections = 200
shared_buffers = 256MB
maintenance_work_mem = 128MB
max_wal_size = 2GB
wal_compression = on
fsync = on
password_encryption = 'scram-sha-256'
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
logging_collector = on
log_destination = 'stderr'
log_directory = 'log'
log_filename = 'server-%a.log'
log_rotation_age = 1d
log_rotation_size = 0
log_truncate_on_rotation = on
log_min_duration_statement = -1
log_line_prefix = '%m [%p] %u@%d '
cluster_name = 'market_data'
"""


def ensure(folder: Folder, binaries: Binaries, *, start_lock: int) -> Account:
    """Make the cluster where there is none, ready to be started, and return the account that runs it.

    The caller holds the start lock, and knows that no process of the server lives.
    """
    log = open_start_log(folder)
    try:
        discard_leftovers(folder)
        if (folder.cluster / "PG_VERSION").exists():
            account = privileges.of_cluster(folder.cluster)
            restore_mode(folder.cluster)
            if folder.read_password() is None:
                renew_password(folder, binaries, account, log=log)
        else:
            account = initialise(folder, binaries, log=log, start_lock=start_lock)
    finally:
        os.close(log)
    write_settings(folder.cluster)
    forget_old_logs(folder.cluster / "log")
    return account


def open_start_log(folder: Folder) -> int:
    """Open the log of starts, emptied when it has grown: it gets a few lines a start."""
    log = locks.open_file(folder.start_log, append=True)
    if os.fstat(log).st_size > 1 << 20:
        os.ftruncate(log, 0)
    return log


def initialise(folder: Folder, binaries: Binaries, *, log: int, start_lock: int) -> Account:
    """Run initdb in a folder of its own and move the result in place: a cluster is either whole or absent."""
    if folder.cluster.exists():
        refuse_foreign(folder.cluster)
    password = folder.read_password() or secrets.token_urlsafe(32)
    write_file(folder.password_file, password)
    staging = folder.root / f"init-{secrets.token_hex(4)}"
    staging.mkdir(mode=0o700)
    data, password_copy = staging / "data", staging / "password"
    write_file(password_copy, password)
    account = privileges.of_new_cluster(staging, binaries.program("postgres"), log=log)
    account.give(password_copy)
    sizes = folder.log_sizes()
    command = [str(binaries.program("initdb")), *initdb_options(binaries.major, data, password_copy)]
    # initdb outlives us when we are killed; with this lock, nobody cleans up or begins anew before it ends.
    if privileges.run(account, command, log=log, keep=(start_lock,)) != 0:
        said = folder.log_since(sizes)
        shutil.rmtree(staging, ignore_errors=True)
        raise DatabaseUnavailable(
            f"PostgreSQL could not make its data folder in {folder.root} (log: {folder.start_log}); "
            f"free space or rights there, {WAY_OUT}. It said:\n{said}"
        )
    configure(data)
    data.rename(folder.cluster)
    sync_folder(folder.root)
    shutil.rmtree(staging)
    return account


def initdb_options(major: int, data: Path, password_file: Path) -> list[str]:
    """Choose initdb's options, the same order and case of text on every machine above all."""
    options = ["-D", str(data), "-U", ROLE, f"--pwfile={password_file}", "--encoding=UTF8", "--locale=C"]
    options += [
        "--auth-host=scram-sha-256",
        "--auth-local=scram-sha-256",
        "--data-checksums",
        "--no-instructions",
    ]
    if major >= 17:
        # Code point order like C, but upper() and lower() know all letters.
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return options


def configure(data: Path) -> None:
    """Have a new cluster read our settings, last so that they win over initdb's."""
    own = (data / "postgresql.conf").read_text(encoding="utf-8")
    write_file(data / "postgresql.conf", f"{own}\n# Added by market-data\ninclude = '{SETTINGS_FILE}'\n")
    write_file(data / "pg_hba.conf", HOST_RULES)
    write_settings(data)


def write_settings(cluster: Path) -> None:
    """Write our settings where they differ, so that a newer program brings its own to an older cluster."""
    path = cluster / SETTINGS_FILE
    if not path.exists() or path.read_text(encoding="utf-8") != SETTINGS:
        write_file(path, SETTINGS)


def renew_password(folder: Folder, binaries: Binaries, account: Account, *, log: int) -> None:
    """Replace a lost password, which is ours to choose: the single-user server asks for none."""
    password = secrets.token_urlsafe(32)
    sizes = folder.log_sizes()
    postgres = [str(binaries.program("postgres")), "--single", "-D", str(folder.cluster), "postgres"]
    statement = f"ALTER ROLE {ROLE} PASSWORD '{password}';\n"
    if privileges.run(account, postgres, log=log, feed=statement) != 0:
        raise DatabaseUnavailable(
            f"the password file {folder.password_file} is gone and a new one could not be set; put the file "
            f"back, {WAY_OUT}. PostgreSQL said:\n{folder.log_since(sizes)}"
        )
    write_file(folder.password_file, password)


def refuse_foreign(cluster: Path) -> None:
    """Take an empty folder away, and refuse one with something in it that is no cluster."""
    try:
        cluster.rmdir()
    except OSError:
        raise DatabaseUnavailable(
            f"{cluster} is no PostgreSQL data folder (PG_VERSION is missing) and not empty: restore it "
            f"from a backup, or move it away to begin anew, {WAY_OUT}"
        ) from None


def restore_mode(cluster: Path) -> None:
    """Close the cluster to others again: PostgreSQL refuses it after a `chmod -R` over the project."""
    if cluster.stat().st_mode & 0o027:
        cluster.chmod(0o700)


def discard_leftovers(folder: Folder) -> None:
    """Remove what an initdb left that did not come to its end."""
    for leftover in folder.root.glob("init-*"):
        shutil.rmtree(leftover)


def forget_old_logs(logs: Path) -> None:
    """Remove logs of last week, which a server that was down at midnight would go on filling."""
    for log in logs.glob("server-*.log"):
        with suppress(FileNotFoundError):
            if time.time() - log.stat().st_mtime > LOG_DAYS * 86400:
                log.unlink()


def sync_folder(path: Path) -> None:
    """Make a rename inside a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
