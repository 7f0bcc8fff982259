"""The documentation is tested against the code: what it names exists, what is generated is current."""

import ast
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
DECISIONS = sorted(ROOT.glob("docs/decisions/0*.md"))

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]\n]*(?:\n[^\]\n]*)?\]\(([^)\s]+)\)")
_COMMAND = re.compile(r"(?<![\w/-])(?:\.venv/bin/)?market-data(?: [^`\n|)\"#;&]*)?")
_SETTING = re.compile(r"(?<![\w<>.])([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)\b")
_ONE_WORD = re.compile(r"\b(HOST|PORT|WORKERS|DEBUG)=")
NO_SETTINGS = {
    "ADMIN_URL",  # an address the reader has
    "GRAFANA_DB_HOST",  # Grafana's environment
    "GRAFANA_DB_NAME",
    "GRAFANA_DB_PASSWORD",
    "GRAFANA_DB_ROOT_CERT",
    "GRAFANA_DB_SSLMODE",
    "GRAFANA_DB_USER",
    "PG_VERSION",
    "TEST_DATABASE_URL",  # read by the tests, like the next
    "TEST_GRAFANA_URL",
    "TEST_TIMESCALE_URL",
    "XDG_CACHE_HOME",  # of the desktop
    "READER_PASSWORD",  # read by one command, which documents it
    "NOT_IN_IMAGE",  # of the Makefile
    "PYTHON_IMAGE",  # of the Dockerfile
    *re.findall(r"^#?(\w+)=", (ROOT / "docker/.env.example").read_text(encoding="utf-8"), re.MULTILINE),
}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def load(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    return load(ROOT / "docs/generate.py", "generate")


@pytest.fixture(scope="module")
def commands(generate) -> dict[tuple[str, ...], object]:
    return dict(generate.commands(generate.everything()))


@pytest.fixture(scope="module")
def settings(generate) -> set[str]:
    clients = generate.discover(generate.clients).values()
    platform = {name for name, _ in generate.settings_of(generate.Settings)}
    return platform | {name for client in clients for name, _ in generate.provider_settings(client)}


def blocks(page: Path, language: str) -> Iterator[str]:
    for found, text in _FENCE.findall(page.read_text(encoding="utf-8")):
        if found == language:
            yield text


def anchors(page: Path) -> set[str]:
    """What links may point to on a page: its headings, as they are made into anchors."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in titles}


# What is written


@each_page
def test_links_lead_somewhere(page):
    for link in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@each_page
def test_commands_exist_with_their_options(page, commands):
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for call in _COMMAND.findall(text):
        words = shlex.split(call.replace("'", ""), comments=True)[1:]
        if not words or words[0] in {"--version", "--help", "command", "import`"}:
            continue
        known = [("market-data", *words[:2]), ("market-data", *words[:1]), ("market-data", words[0], "list")]
        command = next((commands[name] for name in known if name in commands), None)
        group = any(name[1] == words[0] for name in commands)
        assert command is not None or (group and len(words) == 1), call
        options = {option for one in getattr(command, "params", ()) for option in one.opts}
        options |= {option for one in getattr(command, "params", ()) for option in one.secondary_opts}
        for word in words:
            if word.startswith("--"):
                assert word.partition("=")[0] in options | {"--help"}, call


@each_page
def test_settings_exist(page, settings):
    text = page.read_text(encoding="utf-8")
    if page.name == "adding-a-provider.md":  # its example brings settings of its own
        text = "".join(re.split(r"^```.*?^```$", text, flags=re.MULTILINE | re.DOTALL))
    named = {*_SETTING.findall(text), *_ONE_WORD.findall(text)} - NO_SETTINGS
    assert named <= settings


@each_page
def test_examples_are_well_formed(page):
    for code in blocks(page, "python"):
        compile(code, str(page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for text in blocks(page, "json"):
        json.loads(text)


def test_every_setting_is_documented(settings):
    for name in (".env.example", "docs/configuration.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert {one for one in settings if one not in text} == set(), name


def test_every_decision_is_listed_under_its_title():
    index = (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8")
    assert DECISIONS
    for page in DECISIONS:
        number, _, title = page.read_text(encoding="utf-8").partition("\n")[0][2:].partition(": ")
        assert page.name.startswith(number)
        assert f"| [{number}]({page.name}) | {title} |" in index


@pytest.mark.parametrize("page", DECISIONS[1:], ids=lambda page: page.name)
def test_decisions_are_short_and_complete(page):
    text = page.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]


# What is generated


def test_generated_files_are_current_whatever_the_environment():
    strange = {"PORT": "9999", "API_PREFIX": "/strange", "COLUMNS": "40", "ALPHA_VANTAGE_API_KEY": "S3CRET"}
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"],
        cwd=ROOT,
        env={**os.environ, **strange},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_check_names_what_is_out_of_date_and_the_remedy(generate, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setattr(generate, "pages", lambda: {"a.md": "new", "b.md": "same"})
    (tmp_path / "a.md").write_text("old")
    (tmp_path / "b.md").write_text("same")
    assert generate.main(["--check"]) == 1
    assert capsys.readouterr().err == "out of date: a.md. `make docs` writes what is generated anew\n"
    assert (tmp_path / "a.md").read_text() == "old"
    assert generate.main([]) == 0
    assert (tmp_path / "a.md").read_text() == "new"
    assert generate.main(["--check"]) == 0


def test_a_page_that_lost_its_mark_is_not_overwritten(generate, monkeypatch, tmp_path):
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/cli.md").write_text("# Command line\n")
    with pytest.raises(SystemExit, match="has lost the line"):
        generate.page("cli", ["x"])


def test_a_new_provider_is_documented_by_its_one_file(generate, monkeypatch, tmp_path):
    code = next(blocks(ROOT / "docs/adding-a-provider.md", "python"))
    (tmp_path / "frankfurter.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("frankfurter")
    monkeypatch.delitem(sys.modules, "frankfurter")
    monkeypatch.setitem(sys.modules, "frankfurter", module)
    known = {"frankfurter": module.FrankfurterClient}
    assert "#FRANKFURTER_BASE_URL=https://api.frankfurter.dev\n" in generate.env_example(known)
    assert "| `FRANKFURTER_REQUESTS_PER_MINUTE` | unset |" in generate.configuration(known)
    assert "## frankfurter\n" in generate.providers(known)
    assert "Frankfurter: reference rates of 30 currencies since 1999." in generate.providers(known)
