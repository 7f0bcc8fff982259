"""The built package works by itself: from another folder, without the checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path

from tests.support.command import clean_environment, run

ROOT = Path(__file__).parents[2]


def test_migrations_are_inside_the_wheel(empty_url, tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
        names = archive.namelist()
    assert any(name.startswith("market_data/_alembic/versions/0001") for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "docs/"))]
    # Not measured: coverage would look for the files of the copy.
    kept = {n: v for n, v in clean_environment().items() if not n.startswith(("COVERAGE_", "COV_"))}
    env = {**kept, "DATABASE_URL": empty_url, "PYTHONPATH": str(installed)}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    where = subprocess.run(
        [sys.executable, "-c", "import market_data; print(market_data.__file__)"],
        cwd=elsewhere,
        env=env,
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert where.stdout.startswith(str(installed))
    assert run("db", "current", env=env, cwd=elsewhere).code == 1
    upgraded = run("db", "upgrade", env=env, cwd=elsewhere)
    assert (upgraded.code, upgraded.out.split(" to ")[0]) == (0, "the schema was upgraded from empty")
    assert run("db", "check", env=env, cwd=elsewhere).code == 0
    assert run("prices", "AAPL", env=env, cwd=elsewhere).code == 2  # works, and knows no such instrument
