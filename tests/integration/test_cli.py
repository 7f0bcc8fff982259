"""The command line as a whole: help, settings, and how commands end."""

import shlex
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI

from market_data import __version__
from market_data.cli import app as tree
from market_data.cli import servers
from market_data.cli.output import INTERRUPTED
from market_data.db import home
from tests.support.command import PROGRAM, clean_environment, ended, free_port, invoke, run, start

# The command line calls the same services as the API, whose tests ask every home.
pytestmark = pytest.mark.one_home


def commands(group=None, words=()):
    """Yield every command with the words that call it."""
    group = group or tree.everything()
    yield words, group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*words, name))


ALL = dict(commands())
LEAVES = {words: command for words, command in ALL.items() if not hasattr(command, "commands")}


def test_the_tree_is_that_of_the_contract():
    assert {" ".join(words) for words in LEAVES} == {
        *("serve", "worker", "ingest", "providers", "import", "series", "prices", "delete", "runs"),
        *("subscriptions list", "subscriptions add", "subscriptions edit", "subscriptions remove"),
        *("subscriptions sync", "schedules list", "schedules add", "schedules edit", "schedules remove"),
        *("jobs list", "jobs show", "jobs retry", "jobs cancel", "jobs watch"),
        *("coverage", "gaps", "repair", "calendars list", "calendars override"),
        *("db upgrade", "db current", "db check", "db info", "db url", "db seal", "db reindex"),
        *("db upgrade-storage", "db retention", "db backup", "db restore", "db grant-reader"),
        *("instruments list", "instruments add", "instruments edit", "instruments load"),
    }


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help_has_an_example(words):
    outcome = invoke(*words, "--help")
    assert outcome.code == 0
    assert "Example: " in outcome.out
    assert invoke(*words, "-h").out == outcome.out


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_examples_are_understood(words):
    """Every word of every example is one that its command takes."""
    example = LEAVES[words].epilog.removeprefix("Example: ")
    example = example.partition("   (")[0].removeprefix('psql "$(').removesuffix(')"')
    given = shlex.split(example)
    given = given[given.index("market-data") + 1 :]
    command = LEAVES[words]
    rest = given[len(words) :] if tuple(given[: len(words)]) == words else given[1:]
    with command.make_context(" ".join(words), rest) as context:
        assert context is not None


@pytest.mark.parametrize("words", sorted(LEAVES.keys() - {("serve",), ("worker",)}), ids=" ".join)
def test_results_can_be_had_as_json(words):
    assert any("--json" in parameter.opts for parameter in LEAVES[words].params)


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_what_stands_in_the_overview_is_true(words):
    _, line = tree.COMMANDS[words[0]]
    if len(words) == 1:
        first = LEAVES[words].help.split("\n")[0]
        assert (
            first.split(".")[0].split(";")[0].split(",")[0].split(":")[0] in line or line.rstrip(".") in first
        )


def test_version():
    assert invoke("--version").out == f"market-data {__version__}\n"


def test_help_and_version_import_nothing_heavy():
    heavy = ("numpy", "polars", "pyarrow", "sqlalchemy", "fastapi", "pydantic", "structlog")
    script = (
        "import sys\nfrom market_data.cli.app import app\n"
        "try:\n    app(['--version'])\nexcept SystemExit:\n    pass\n"
        f"assert not [name for name in {heavy} if name in sys.modules]"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=30)


@pytest.mark.parametrize(
    "args",
    [
        ["nosuch"],
        ["--nosuch"],
        ["ingest", "ecb"],
        ["ingest", "nosuch", "EURUSD"],
        ["ingest", "ecb", "EURUSD", "--interval", "1M"],
        ["ingest", "ecb", "EURUSD", "--interval", "1m"],
        ["ingest", "ecb", "EURUSD", "--start", "2024-01-02T00:00:00"],
        ["ingest", "ecb", "EURUSD", "--start", "2024-01-02", "--end", "2024-01-01"],
        ["ingest", "ecb", "EUR USD"],
        ["import", "-", "--symbol", "A B", "--interval", "1d"],
        ["import", "-", "--symbol", "A", "--interval", "1d", "--timezone", "Mars"],
        ["import", "-", "--symbol", "A", "--interval", "1d", "--map", "ts"],
        ["import", "-", "--symbol", "A", "--interval", "1d", "--source", "A B"],
        ["import", "prices.xls", "--symbol", "A", "--interval", "1d"],
        ["prices", "A", "--format", "xml"],
        ["prices", "A", "-o", "somewhere"],
        ["prices", "A", "-o", "a.csv", "--format", "table"],
        ["prices", "A", "--source", "A B"],
        ["delete", "A", "--interval", "1d", "--source", "file"],
        ["delete", "A", "--interval", "1d"],
        ["instruments", "add", "A B", "--exchange", "X", "--asset-class", "equity", "--currency", "USD"],
        ["instruments", "add", "A", "--exchange", "X", "--asset-class", "house", "--currency", "USD"],
        ["instruments", "edit", "A"],
        ["runs", "--limit", "0"],
        ["providers", "nosuch"],
    ],
    ids=" ".join,
)
def test_wrong_usage(args, here):
    outcome = invoke(*args)
    assert outcome.code == 2, outcome
    assert outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "http"),
        ("PORT", "70000"),
        ("WORKERS", "0"),
        ("LOG_LEVEL", "LOUD"),
        ("LOG_FORMAT", "xml"),
        ("DATABASE_URL", "mysql://user:s3cret@host/db"),
        ("DATABASE_URL", "postgresql://user:s3cret@host:port/db"),
        ("API_PREFIX", "api"),
        ("MAX_BODY_BYTES", "12 MB"),
        ("ALLOW_INSECURE", "perhaps"),
    ],
)
def test_a_wrong_setting_names_itself(variable, value, bare):
    bare.setenv(variable, value)
    outcome = invoke("serve")
    assert outcome.code == 2
    assert f"{variable}: " in outcome.complaint
    assert "s3cret" not in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_a_wrong_setting_of_a_provider_names_itself(here):
    here.setenv("BINANCE_BASE_URL", "gopher://x")
    outcome = invoke("ingest", "binance", "BTCUSDT")
    assert (outcome.code, "BINANCE_BASE_URL" in outcome.complaint) == (2, True)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "prices.example"])  # noqa: S104 # to be refused
def test_other_hosts_are_refused(host, bare):
    bare.setenv("HOST", host)
    outcome = invoke("serve")
    assert outcome.code == 2
    assert "ALLOW_INSECURE=true" in outcome.complaint


def test_a_taken_port(bare):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bare.setenv("PORT", str(taken.getsockname()[1]))
        outcome = invoke("serve")
    assert outcome.code == 2
    assert "PORT: cannot listen" in outcome.complaint


def test_a_data_folder_of_another_major(bare, tmp_path):
    cluster = tmp_path / "postgres/cluster"
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("9\n")
    bare.setenv("DATA_DIR", str(tmp_path))
    outcome = invoke("series")
    assert outcome.code == 1
    assert "made by PostgreSQL 9" in outcome.complaint
    assert "DATABASE_URL" in outcome.complaint


def test_a_database_that_does_not_answer(bare):
    bare.setenv("DATABASE_URL", "postgresql://user:s3cret@127.0.0.1:1/db")
    outcome = invoke("series")
    assert outcome.code == 1
    assert "the database does not answer" in outcome.complaint
    assert "s3cret" not in outcome.err


def test_an_empty_database(bare, empty_url):
    bare.setenv("DATABASE_URL", empty_url)
    outcome = invoke("series")
    assert (outcome.code, "market-data db upgrade" in outcome.complaint) == (1, True)


class TestWhatNobodyExpected:
    @pytest.fixture(autouse=True)
    def _broken(self, here):
        def broken(*_: object, **__: object) -> None:
            raise LookupError("on two\nlines")

        here.setattr(home, "require_head", broken)

    def test_is_one_line(self):
        outcome = invoke("series")
        assert outcome.code == 1
        assert outcome.complaint == "error: unexpected LookupError: on two lines (DEBUG=true shows where)"

    def test_is_a_traceback_when_debugging(self, here):
        here.setenv("DEBUG", "true")
        outcome = invoke("series")
        assert outcome.code == 1
        assert "Traceback" in outcome.err


def test_ctrl_c_before_anything_was_done(here):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    here.setattr(home, "require_head", interrupted)
    outcome = invoke("series")
    assert outcome.code == INTERRUPTED
    assert "repeating is safe" in outcome.complaint


@pytest.mark.parametrize("args", [["prices", "AAPL", "--format", "csv"], ["instruments"], ["runs", "--json"]])
def test_a_reader_that_has_seen_enough(args, apple, stored):
    """`| head`: the reading end of the pipe is closed before anything is written."""
    process = start(*args, env=stored)
    process.stdout.close()
    process.stdout = None
    outcome = ended(process)
    assert (outcome.code, outcome.err) == (0, "")


def test_as_a_module():
    outcome = run("--version", env=clean_environment())
    assert (outcome.code, PROGRAM[1:]) == (0, ["-m", "market_data"])


def test_an_api_that_does_not_start(here):
    @asynccontextmanager
    async def broken(_: FastAPI) -> AsyncIterator[None]:
        raise LookupError("no such thing")
        yield

    here.setattr(servers, "create_app", lambda _: FastAPI(lifespan=broken))
    here.setenv("PORT", str(free_port()))
    outcome = invoke("serve")
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1] == "error: the API did not start; the log above says why"
