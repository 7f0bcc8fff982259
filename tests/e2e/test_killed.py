"""An ingest that is killed in the middle: nothing is lost, nothing doubled, and the record says so."""

import json
import os
import signal
import threading

import pytest

from tests.support.command import clean_environment, ended, run, start, until
from tests.support.vendor import Question, Reply, serving

HOUR = 3_600_000
FIRST = 1_577_836_800_000  # 2020-01-01
BARS = 1500
ARGS = (
    "ingest",
    "binance",
    "BTCUSDT",
    "--interval",
    "1h",
    "--start",
    "2020-01-01",
    "--end",
    "2020-03-03T12:00:00Z",
)


def klines(asked: Question) -> bytes:
    """Answer as Binance does: at most 1000 klines from startTime on."""
    start, end = (int(asked.params[name]) for name in ("startTime", "endTime"))
    opens = range(max(start, FIRST), min(end + 1, FIRST + BARS * HOUR), HOUR)
    return json.dumps([kline(at) for at in opens[:1000]]).encode()


def kline(at: int) -> list:
    price = f"{7000 + (at - FIRST) // HOUR}.25000000"
    return [at, price, price, price, price, "1.50000000", at + HOUR - 1, "1.0", 1, "1.0", "1.0", "0"]


@pytest.fixture
def halting():
    """A vendor that halts at the second page until told to go on."""
    go_on = threading.Event()

    def answer(asked: Question) -> Reply:
        later = int(asked.params["startTime"]) > FIRST
        return Reply(klines(asked), stall=go_on if later else None)

    with serving(answer) as vendor:
        vendor.go_on = go_on
        yield vendor
        go_on.set()


def completed(vendor, env: dict[str, str]) -> None:
    """Repeat, and find every bar once."""
    vendor.go_on.set()
    again = run(*ARGS, "--json", env=env).json()
    assert (again["status"], again["inserted"], again["updated"], again["unchanged"]) == (
        "succeeded",
        500,
        0,
        1000,
    )
    lines = run("prices", "BTCUSDT", "--interval", "1h", "--format", "csv", env=env).out.splitlines()[1:]
    closes = [float(line.split(",")[5]) for line in lines]
    assert closes == [7000.25 + hour for hour in range(BARS)]


def halfway(vendor, env: dict[str, str]):
    process = start(*ARGS, env=env)
    until(lambda: len(vendor.asked) == 2 or process.poll() is not None, "the second page is asked for", 60)
    assert process.poll() is None
    until(lambda: run("runs", "--json", env=env).json()[0]["inserted"] == 1000, "one page is stored", 60)
    return process


def test_killed(halting, stored):
    env = stored | {"BINANCE_BASE_URL": halting.url}
    process = halfway(halting, env)
    process.kill()
    ended(process)
    # The server notices the dead client's connection in its own time.
    (dead,) = until(
        lambda: [one for one in run("runs", "--json", env=env).json() if one["finished_at"]], "marked as dead"
    )
    assert (dead["status"], dead["inserted"]) == ("interrupted", 1000)
    assert "repeating is safe" in dead["error"]
    completed(halting, env)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped(halting, stored, number, code):
    env = stored | {"BINANCE_BASE_URL": halting.url}
    process = halfway(halting, env)
    process.send_signal(number)
    outcome = ended(process)
    assert outcome.code == code
    assert "repeating is safe" in outcome.complaint
    (stopped,) = run("runs", "--json", env=env).json()
    assert (stopped["status"], stopped["inserted"]) == ("cancelled", 1000)
    completed(halting, env)


def test_killed_together_with_its_database(halting, tmp_path):
    env = clean_environment(DATA_DIR=str(tmp_path / "data"), BINANCE_BASE_URL=halting.url)
    process = halfway(halting, env)
    postmaster = tmp_path / "data/postgres/cluster/postmaster.pid"
    pid = int(postmaster.read_text().split()[0])
    process.kill()
    os.kill(pid, signal.SIGKILL)
    ended(process)
    (dead,) = run("runs", "--json", env=env).json()
    assert (dead["status"], dead["inserted"]) == ("interrupted", 1000)
    completed(halting, env)
