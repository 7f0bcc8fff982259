"""TimescaleDB, Apache edition: Debian's packages, under the supervisor of the embedded server."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from market_data.db.embedded import EmbeddedServer, binaries
from tests.homes import cache, debian
from tests.homes.unavailable import Unavailable

MAJOR = 17
PACKAGES = [f"postgresql-{MAJOR}", f"postgresql-{MAJOR}-timescaledb"]

WANTED = ["usr/lib/postgresql", "usr/share/postgresql", "usr/lib/*-linux-gnu*"]
# Compiling queries is optional, and half of the size.
COMPILER = [f"usr/lib/postgresql/{MAJOR}/lib/llvmjit*.so", "usr/lib/*/libLLVM*", "usr/lib/*/libz3.*"]

# Debian's build has no time zones of its own.
ZONES = Path("/usr/share/zoneinfo/UTC")

# Read by initdb: what every cluster of these programs begins with.
SETTINGS = """
shared_preload_libraries = 'timescaledb'
timescaledb.telemetry_level = off
max_worker_processes = 32 # 16 of TimescaleDB, and those of parallel queries
"""

# The programs want a newer C library than most machines have: they run with the one they came with.
WRAPPER = """\
#!/bin/sh
bin=${0%/*}
lib=$(echo "${bin%/postgresql/*}"/*-linux-gnu*)
exec "$lib"/ld-linux*.so.* --inhibit-cache --library-path "$lib" --argv0 "$0" "$bin/../programs/${0##*/}" "$@"
"""


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Give the address of a server that has TimescaleDB; its programs are downloaded once."""
    if not ZONES.exists():
        raise Unavailable("no time zones in /usr/share/zoneinfo: install tzdata")
    programs = installed() / f"usr/lib/postgresql/{MAJOR}/bin"
    if binaries.inspect(programs) is None:
        raise Unavailable(f"the programs in {programs} do not run here; remove {cache.folder()} to try anew")
    with_extension = EmbeddedServer(folder)
    with mock.patch.object(binaries, "FINDERS", (lambda: [programs],)):
        url = with_extension.start()
    yield url
    with_extension.stop()


def installed() -> Path:
    """Return the folder with the programs, made where there is none; a changed recipe makes a new one."""
    recipe = "".join([debian.SUITE, *PACKAGES, *WANTED, *COMPILER, SETTINGS, WRAPPER])
    name = f"timescale-apache-{hashlib.sha256(recipe.encode()).hexdigest()[:8]}"
    try:
        return cache.folder_of(name, install)
    except OSError as error:
        raise Unavailable(f"its programs cannot be kept in {cache.folder()}: {error}") from error


def install(staging: Path, lock: int) -> Path:
    """Download, unpack and fit the programs."""
    packages = debian.download(PACKAGES, staging, lock)
    root = debian.unpack(packages, staging, WANTED)
    for pattern in COMPILER:
        for found in root.glob(pattern):
            found.unlink()
    wrap(root / f"usr/lib/postgresql/{MAJOR}")
    with (root / f"usr/share/postgresql/{MAJOR}/postgresql.conf.sample").open(
        "a", encoding="utf-8"
    ) as sample:
        sample.write(SETTINGS)
    return root


def wrap(postgres: Path) -> None:
    """Put a script in the place of each program; there, because programs look for their files from there."""
    (postgres / "bin").rename(postgres / "programs")
    (postgres / "bin").mkdir()
    for program in (postgres / "programs").iterdir():
        script = postgres / "bin" / program.name
        script.write_text(WRAPPER, encoding="utf-8")
        script.chmod(0o755)
