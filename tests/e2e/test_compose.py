"""The tour of docker/docker-compose.yml where a Docker engine answers; its configuration where Compose is."""

import functools
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import clean_environment

ROOT = Path(__file__).parents[2]


@functools.cache
def works(*words: str) -> bool:
    if shutil.which(words[0]) is None:
        return False
    return subprocess.run(words, capture_output=True, check=False, timeout=60).returncode == 0


compose = pytest.mark.skipif(
    not works("docker", "compose", "version"), reason="not run: no Docker Compose is installed"
)
engine = pytest.mark.skipif(
    not (works("docker", "compose", "version") and works("docker", "info")),
    reason="not run: no Docker engine answers (tests/e2e/compose.sh)",
)


@compose
@pytest.mark.parametrize("more", [[], ["--file", "docker/publish-db.yml"]], ids=["alone", "published"])
@pytest.mark.parametrize("profile", [[], ["--profile", "pgbouncer"]], ids=["plain", "pgbouncer"])
def test_compose_reads_its_files(tmp_path, more, profile):
    (tmp_path / "docker").mkdir()
    shutil.copy(ROOT / "docker/env.sh", tmp_path / "docker")
    subprocess.run(["sh", str(tmp_path / "docker/env.sh")], check=True, capture_output=True)
    files = ["--env-file", str(tmp_path / "docker/.env"), "--file", "docker/docker-compose.yml", *more]
    words = ["docker", "compose", *files, *profile, "config", "--quiet"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@engine
def test_the_tour():
    done = subprocess.run(
        [ROOT / "tests/e2e/compose.sh"],
        env=clean_environment(PYTHON=sys.executable),
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
    assert done.stdout.endswith("== done\n")
