"""The command line under test: in this process, or as a process of its own; and waiting without sleeping."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from structlog.stdlib import ProcessorFormatter
from typer.testing import CliRunner

from market_data.cli.app import app

T = TypeVar("T")
PROGRAM = [sys.executable, "-m", "market_data"]
OURS = (
    "DATABASE_",
    "DATA_DIR",
    "HOST",
    "PORT",
    "WORKERS",
    "ALLOW_",
    "API_",
    "DEBUG",
    "LOG_",
    "MAX_",
    "METRICS_",
    "PROMETHEUS_",
    "SOURCE_",
    "SEAL_",
    "FRAME_",
    "RETENTION_",
    "COLUMNSTORE_",
    "JOBS_",
    "WORKER_",
)
VENDORS = (
    "ALPACA_",
    "ALPHA_VANTAGE_",
    "ALPHAVANTAGE_",
    "APCA_",
    "BINANCE_",
    "BITSTAMP_",
    "COINBASE_",
    "ECB_",
    "FRED_",
    "KRAKEN_",
    "LEAN_",
    "POLYGON_",
    "STOOQ_",
    "TIINGO_",
    "TWELVE_DATA_",
    "YAHOO_",
)


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str
    raw: bytes = b""

    def json(self) -> Any:
        assert self.code in {0, 1}, self
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """The one line on stderr that says what is wrong."""
        found = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(found) == 1, self
        assert "Traceback" not in self.err, self
        return found[0]


def invoke(*args: object, stdin: bytes | None = None) -> Outcome:
    """Run a command in this process."""
    result = CliRunner().invoke(app, [str(arg) for arg in args], input=stdin)
    return Outcome(result.exit_code, result.stdout, result.stderr, result.stdout_bytes)


def clean_environment(**changes: str) -> dict[str, str]:
    """Return this process's environment without settings of the program, but with `changes`.

    The vendor of the sample's subscriptions is nowhere, so that no test asks a real one.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith((*OURS, *VENDORS))}
    return {**kept, "ECB_BASE_URL": "http://127.0.0.1:9", **changes}


def start(*args: object, env: Mapping[str, str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a command as a process of its own."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen([*PROGRAM, *map(str, args)], env=dict(env), **pipes)


def run(*args: object, env: Mapping[str, str], seconds: float = 60, **options: Any) -> Outcome:
    """Run a command as a process of its own, to its end."""
    process = start(*args, env=env, **options)
    return ended(process, seconds)


def ended(process: subprocess.Popen[bytes], seconds: float = 30) -> Outcome:
    """Wait for the end of a process; one that does not end fails the test."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"no end within {seconds} s: {err.decode()[-2000:]}") from None
    return Outcome(
        process.returncode, (out or b"").decode(errors="replace"), (err or b"").decode(), out or b""
    )


def until(ask: Callable[[], T], what: str, seconds: float = 30) -> T:
    """Ask again and again until the answer is true, and return it."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)
    return answer


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Serving:
    """`market-data serve` as a process of its own; a context manager that ends it however the test went."""

    def __init__(self, *args: str, env: Mapping[str, str], log: Path) -> None:
        self.port = free_port()
        self.log = log
        self.env = {**env, "PORT": str(self.port)}
        with log.open("wb") as file:
            self.process = start("serve", *args, env=self.env, stdout=file, stderr=file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def get(self, path: str) -> tuple[int, Any]:
        """Ask the API; status 0 where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())
        except OSError:
            return 0, None

    def ready(self, seconds: float = 60) -> "Serving":
        def answers() -> bool:
            assert self.process.poll() is None, self.said
            return "serving on" in self.said and self.get("/health/ready")[0] == 200

        until(answers, "ready", seconds)
        return self

    def stop(self, number: signal.Signals = signal.SIGINT, seconds: float = 30) -> int:
        self.process.send_signal(number)
        return self.process.wait(seconds)


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of all processes that work in a data folder or were told of it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            where = str((entry / "cwd").readlink())
        except OSError:
            continue
        if str(folder) in words or where.startswith(str(folder)):
            found.append(words)
    return found


def reset_logging() -> None:
    """Take back what a command of this process did to the process's logging."""
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    for handler in [one for one in root.handlers if isinstance(one.formatter, ProcessorFormatter)]:
        root.removeHandler(handler)
