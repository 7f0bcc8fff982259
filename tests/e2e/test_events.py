"""A real server and a vendor: a subscription followed to its end, and streams that end with the server."""

import http.client
import json
import signal
import threading
import time
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.command import Serving, until
from tests.support.replay_market import Market
from tests.support.replay_process import Replay

SYMBOL = "S0007USDT"
API = "/api/v1"


def ask(serving: Serving, method: str, path: str, body: object = None) -> dict:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{serving.port}{API}{path}",
        data,
        {"Content-Type": "application/json"},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 # it is ours
        return json.loads(answer.read())


def events(text: str) -> list[tuple[str, dict]]:
    found = []
    for block in filter(None, text.split("\n\n")):
        lines = dict(line.split(": ", 1) for line in block.splitlines())
        if "event" in lines:  # not a comment that keeps the connection alive
            found.append((lines["event"], json.loads(lines["data"])))
    return found


class Follower:
    """Reads the events of a job in a thread, until they end."""

    def __init__(self, serving: Serving, job_id: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", serving.port, timeout=60)
        self.connection.request("GET", f"{API}/jobs/{job_id}/events")
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200
        self.text = ""
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self) -> None:
        while piece := self.answer.read1(65536):
            self.text += piece.decode()

    def ended(self) -> list[tuple[str, dict]]:
        self.thread.join(60)
        assert not self.thread.is_alive()
        self.connection.close()
        return events(self.text)


def test_a_subscription_is_followed_to_its_end(stored, tmp_path):
    since = (datetime.now(UTC) - timedelta(days=2)).replace(second=0, microsecond=0)
    body = {"provider": "binance", "symbols": [SYMBOL], "intervals": ["1m"], "since": since.isoformat()}
    with Replay(Market(until=datetime(2100, 1, 1, tzinfo=UTC)), latency=200) as replay:
        env = stored | {"BINANCE_BASE_URL": replay.url, "LOG_LEVEL": "WARNING"}
        with Serving(env=env, log=tmp_path / "serve.log") as serving:
            serving.ready()
            assert len(ask(serving, "POST", "/subscriptions", body)["data"]) == 1
            job_id = ask(serving, "POST", "/subscriptions/1/sync")["id"]
            kind, last = Follower(serving, job_id).ended()[-1]
            assert (kind, last["run"]["status"]) == ("end", "succeeded")
            assert last["run"]["inserted"] >= 2 * 24 * 60 - 10
            assert last["run"]["subscription_id"] == 1
            until_then = ask(serving, "GET", "/subscriptions/1")["watermark"]  # a minute may pass meanwhile
            (found,) = ask(serving, "GET", f"/coverage?symbols={SYMBOL}&end={until_then}")["data"]
            gaps = [one for one in found["stretches"] if one["state"] in {"missing", "failed"}]
            assert gaps == []
            assert found["counts"]["present"] >= last["run"]["inserted"]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_streams_end_with_the_server(stored, tmp_path, workers):
    env = stored | {"JOBS_AT_ONCE": "0", "WORKERS": workers, "LOG_LEVEL": "WARNING"}
    with Serving(env=env, log=tmp_path / "serve.log") as serving:
        serving.ready()
        job_id = ask(serving, "POST", "/ingestions", {"provider": "ecb", "symbols": ["EURUSD"]})["job_id"]
        followers = [Follower(serving, job_id) for _ in range(3)]
        until(lambda: all("progress" in one.text for one in followers), "a first event each")
        began = time.monotonic()
        assert serving.stop(signal.SIGTERM) == 0
        assert time.monotonic() - began < 10
        for one in followers:
            found = one.ended()
            assert {kind for kind, _ in found} == {"progress"}
        assert "Traceback" not in serving.said, serving.said[-3000:]
