"""Runs tests on homes: the option --home, the fixtures, and what the summary says of them."""

from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.homes.home import SERVERS, Home, Homes
from tests.homes.unavailable import Unavailable

INTEGRATION = Path(__file__).parents[1] / "integration"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--home",
        action="append",
        choices=list(SERVERS),
        help="run the integration tests on this database server only; repeatable (default: on each)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "home" in metafunc.fixturenames:
        metafunc.parametrize("home", homes_of(metafunc), indirect=True, scope="session")


def homes_of(metafunc: pytest.Metafunc) -> list[str]:
    """Choose the homes of a test: all that were asked for where it is an integration test, else the first."""
    chosen = list(dict.fromkeys(metafunc.config.getoption("home") or SERVERS))
    test = metafunc.definition
    on_each = test.path.is_relative_to(INTEGRATION) and not test.get_closest_marker("one_home")
    return chosen if on_each else chosen[:1]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    elsewhere = [item for item in items if not fits(item)]
    if elsewhere:
        config.hook.pytest_deselected(items=elsewhere)
        items[:] = [item for item in items if fits(item)]


def fits(item: pytest.Item) -> bool:
    """Whether a test runs on the home that it was given, which a marker may rule out."""
    marker = item.get_closest_marker("homes")
    return marker is None or item.callspec.params["home"] in marker.args


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Homes]:
    """The homes of this run; all workers share their servers."""
    base = tmp_path_factory.getbasetemp()
    with Homes(base.parent if hasattr(request.config, "workerinput") else base) as running:
        yield running


@pytest.fixture(scope="session")
async def home(request: pytest.FixtureRequest, homes: Homes) -> Home:
    """The home that the test runs on."""
    try:
        return await homes.get(request.param)
    except Unavailable as reason:
        pytest.skip(f"not run: {request.param}: {reason}")


@pytest.fixture(scope="session")
def server_url(home: Home) -> str:
    """Address of a server on which databases may be created."""
    return home.url


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note on a test's report where it ran; reports are what comes back from workers."""
    report = yield
    home = getattr(item, "funcargs", {}).get("home")
    if home is not None and report.when == "call" and not report.skipped:
        report.user_properties.append(("home", f"{home.name}: {home.version}"))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say on which servers how many tests ran."""
    ran: Counter[str] = Counter()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            ran.update(where for name, where in report.user_properties if name == "home")
    if ran:
        terminalreporter.section("homes")
    for where, count in sorted(ran.items()):
        terminalreporter.line(f"{where}: {count} test{'s' if count > 1 else ''}")
