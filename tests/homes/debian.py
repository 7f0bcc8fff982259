"""Packages of a Debian suite, downloaded by apt and unpacked into a folder.

apt works on a configuration and state of its own, so nothing of the machine changes and no rights are needed;
it verifies signatures and hashes. Mirrors and proxies are those of the machine.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.homes.unavailable import Unavailable

SUITE = "trixie"
SECONDS = 600
"""For one run of apt."""

MACHINE_CONFIGURATION = Path("/etc/apt/apt.conf")
KEYRINGS = Path("/usr/share/keyrings")

# apt reads it twice, before and after the files in apt.conf.d: hooks that those name are not for us.
CONFIGURATION = """\
{include}
Dir::Etc::main "{folder}/apt.conf";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "{folder}/state";
Dir::State::status "{folder}/state/status";
Dir::Cache "{folder}/cache";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "2";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
"""


def download(packages: Sequence[str], staging: Path, lock: int) -> list[Path]:
    """Download packages and all that they depend on, from the first mirror of this machine that has them."""
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise Unavailable(f"{program} is missing: it comes from Debian's packages")
    mirrors = mirrors_of(run(["apt-get", "update", "--print-uris"], lock))
    signed_by = keyring()
    refusal = Unavailable("apt has no Debian mirror configured (/etc/apt/sources.list.d)")
    for number, mirror in enumerate(mirrors):
        folder = staging / f"apt-{number}"
        configuration = configure(folder, f"deb [signed-by={signed_by}] {mirror} {SUITE} main\n")
        try:
            run(["apt-get", "-qq", "update"], lock, configuration)
            run(["apt-get", "-qq", "--yes", "--download-only", "install", *packages], lock, configuration)
        except Unavailable as error:
            refusal = error
            continue
        return sorted((folder / "cache/archives").glob("*.deb"))
    raise refusal


def mirrors_of(uris: str) -> list[str]:
    """Read from what `apt-get update --print-uris` says where a whole suite of Debian may lie."""
    # Suites with a hyphen are updates, security and backports; other vendors' fail for their signature.
    return list(dict.fromkeys(re.findall(r"^'(?!cdrom:)(\S+)/dists/[^/'-]+/main/", uris, re.MULTILINE)))


def keyring() -> Path:
    """Find the keys of Debian, the only ones that are trusted."""
    for found in sorted(KEYRINGS.glob("debian-archive-keyring.*")):
        return found
    raise Unavailable(f"Debian's keys are not in {KEYRINGS}: install debian-archive-keyring")


def configure(folder: Path, source: str) -> Path:
    """Write a configuration for apt that has one source, and no packages installed."""
    for part in ("state/lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True)
    (folder / "state/status").touch()
    (folder / "sources.list").write_text(source, encoding="utf-8")
    include = f'#include "{MACHINE_CONFIGURATION}";' if MACHINE_CONFIGURATION.is_file() else ""
    path = folder / "apt.conf"
    path.write_text(CONFIGURATION.format(include=include, folder=folder), encoding="utf-8")
    return path


def unpack(packages: Iterable[Path], staging: Path, wanted: Iterable[str]) -> Path:
    """Unpack packages, and return a folder with the wanted folders only: others hold setuid programs."""
    everything, root = staging / "everything", staging / "root"
    for package in packages:
        run(["dpkg-deb", "--extract", str(package), str(everything)])
    for pattern in wanted:
        for found in everything.glob(pattern):
            target = root / found.relative_to(everything)
            target.parent.mkdir(parents=True, exist_ok=True)
            found.rename(target)
    return root


def run(command: list[str], lock: int | None = None, configuration: Path | None = None) -> str:
    """Run a program and return what it says; `Unavailable` with its last words when it fails."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**os.environ, "LC_ALL": "C"} | ({"APT_CONFIG": str(configuration)} if configuration else {}),
            pass_fds=() if lock is None else (lock,),
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{command[0]} took more than {SECONDS} s") from None
    if done.returncode:
        said = [
            line for line in done.stderr.splitlines() if line.startswith("E:")
        ] or done.stderr.splitlines()
        raise Unavailable(f"{' '.join(command[:3])}: {said[0] if said else f'exit code {done.returncode}'}")
    return done.stdout
