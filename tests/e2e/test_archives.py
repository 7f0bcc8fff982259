"""`market-data ingest` of files: from an archive that replaces them, and from folders of LEAN."""

import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.e2e.test_providers import counts
from tests.support.command import invoke
from tests.support.provider_contract import PAYLOADS, content
from tests.support.vendor import Question, Reply, serving


def packed(**members: str) -> bytes:
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w") as archive:
        for name, text in members.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return found.getvalue()


class Archive:
    """The months of the payload's first case; each file with its sum, unless `sums` are wrong."""

    def __init__(self) -> None:
        payload = json.loads((PAYLOADS / "binancearchive.json").read_text(encoding="utf-8"))
        self.case = payload["cases"][0]
        answers = [answer for answer in self.case["answers"] if "zip" in answer]
        self.files = {answer["path"]: content(answer) for answer in answers}
        self.right = True

    def __call__(self, asked: Question) -> Reply:
        path = asked.path.removesuffix(".CHECKSUM")
        file = self.files.get(path)
        if file is None:
            return Reply(b"<Error><Code>NoSuchKey</Code></Error>", 404)
        total = hashlib.sha256(file if self.right else b"").hexdigest()
        name = path.rpartition("/")[2]
        return Reply(f"{total}  {name}\n".encode() if path != asked.path else file)

    def replace(self, old: str, new: str) -> None:
        (path,) = (path for path, file in self.files.items() if old in unpacked(file)[1])
        name, text = unpacked(self.files[path])
        self.files[path] = packed(**{name: text.replace(old, new)})


def unpacked(file: bytes) -> tuple[str, str]:
    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        (name,) = archive.namelist()
        return name, archive.read(name).decode()


def ingest(*args: str, code: int = 0) -> dict:
    outcome = invoke("ingest", *args, "--json")
    assert outcome.code == code, outcome
    return outcome.json()


def test_an_archive_again_and_with_a_file_replaced(here):
    archive = Archive()
    wanted = archive.case["request"]
    args = ["binancearchive", wanted["symbol"], f"--start={wanted['start']}", f"--end={wanted['end']}"]
    with serving(archive) as vendor:
        here.setenv("BINANCE_ARCHIVE_BASE_URL", vendor.url)
        here.setenv("BINANCE_ARCHIVE_REQUESTS_PER_MINUTE", "100000")
        archive.right = False
        failed = ingest(*args, code=1)
        assert "SHA-256" in failed["error"]
        assert invoke("series", "--json").json() == []
        archive.right = True
        assert counts(ingest(*args)) == (3, 0, 0, 0, 0)
        assert counts(ingest(*args)) == (0, 0, 3, 0, 0)
        archive.replace("93576.00000000,19612", "93576.50000000,19612")
        assert counts(ingest(*args)) == (0, 1, 2, 0, 0)


def test_the_archive_and_the_exchange_are_two_series_of_one_instrument(here):
    archive = Archive()
    exchange = json.loads((PAYLOADS / "binance.json").read_text(encoding="utf-8"))["cases"][0]

    def answer(asked: Question) -> Reply:
        return Reply(content(exchange["answers"][0])) if asked.path.startswith("/api/") else archive(asked)

    with serving(answer) as vendor:
        for prefix in ("BINANCE_", "BINANCE_ARCHIVE_"):
            here.setenv(f"{prefix}BASE_URL", vendor.url)
            here.setenv(f"{prefix}REQUESTS_PER_MINUTE", "100000")
        asked = exchange["request"]
        ingest("binance", "BTCUSDT", "--interval=1h", f"--start={asked['start']}", f"--end={asked['end']}")
        ingest("binancearchive", "BTCUSDT", "--start=2024-12-01", "--end=2025-01-01")
    found = invoke("series", "--json").json()
    assert sorted((one["source"], one["interval"], one["count"]) for one in found) == [
        ("binance", "1h", 2),
        ("binancearchive", "1d", 2),
    ]
    assert len({one["instrument_id"] for one in found}) == 1


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """A plain file server with its own listings of folders."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def lean(tmp_path) -> Path:
    """A folder with two days of minutes, the second after New York's clocks were set forward."""
    minutes = tmp_path / "Data" / "equity" / "usa" / "minute" / "aapl"
    minutes.mkdir(parents=True)
    rows = "34200000,2880000,2885000,2879900,2881234,500\n34260000,2881234,2881234,2881234,2881234,1\n"
    for day in ("20200306", "20200309"):
        (minutes / f"{day}_trade.zip").write_bytes(packed(**{f"{day}_aapl_minute_trade.csv": rows}))
    return tmp_path / "Data"


ARGS = "lean", "equity/usa/aapl", "--interval=1m", "--exchange=XNAS"


def test_a_folder_of_lean(here, lean):
    here.setenv("LEAN_FOLDER", str(lean))
    assert counts(ingest(*ARGS)) == (4, 0, 0, 0, 0)
    assert counts(ingest(*ARGS)) == (0, 0, 4, 0, 0)
    shown = invoke("prices", "AAPL", "--interval=1m", "--format=ndjson").out
    bars = [json.loads(line) for line in shown.splitlines()]
    assert [(bar["ts"], bar["close"]) for bar in bars] == [
        ("2020-03-06T14:30:00Z", 288.1234),
        ("2020-03-06T14:31:00Z", 288.1234),
        ("2020-03-09T13:30:00Z", 288.1234),
        ("2020-03-09T13:31:00Z", 288.1234),
    ]


def test_a_folder_of_lean_on_a_web_server(here, lean):
    with web_server(lean) as url:
        here.setenv("LEAN_BASE_URL", url)
        assert counts(ingest(*ARGS)) == (4, 0, 0, 0, 0)


def test_a_folder_that_is_not_there(here, lean):
    here.setenv("LEAN_FOLDER", str(lean / "none"))
    outcome = invoke("ingest", *ARGS)
    assert outcome.code != 0
    assert "LEAN_FOLDER" in outcome.complaint
