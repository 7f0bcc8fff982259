"""`market-data serve --sample`, as a newcomer meets it: a real process, a database of its own."""

import os
import re
import signal
import sys
from pathlib import Path

import pytest

from tests.support.command import Serving, processes_of, run, until

EURUSD = "/api/v1/prices?symbols=EURUSD&interval=1d&start=2024-01-02&end=2024-01-03"

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="not run: looks into /proc")


def close_of(serving: Serving) -> tuple[float, str]:
    status, body = serving.get(EURUSD)
    assert status == 200, body
    return body["data"][0]["close"], body["symbols"]["EURUSD"]["source"]


def data_dir(env: dict[str, str]) -> Path:
    return Path(env["DATA_DIR"])


def gone(env: dict[str, str]) -> bool:
    return not processes_of(data_dir(env))


def test_serves_the_sample_and_leaves_nothing_behind(env, tmp_path):
    with Serving("--sample", env=env, log=tmp_path / "first.log") as serving:
        serving.ready()
        assert close_of(serving) == (1.0956, "ecb")
        assert re.search(r"sample ecb: succeeded, 2\d\d\d\d\d inserted", serving.said)
        assert serving.stop(signal.SIGINT) == 0
        assert "Traceback" not in serving.said
    until(lambda: gone(env), "the database ends with its last user")

    with Serving("--sample", env=env, log=tmp_path / "second.log") as serving:
        serving.ready(seconds=15)
        assert serving.said.count("0 bars written") == 2
        assert close_of(serving) == (1.0956, "ecb")
        with Serving(env=env, log=tmp_path / "third.log") as other:
            other.ready()
            serving.process.send_signal(signal.SIGINT)  # twice, as impatient people press it
            assert serving.stop(signal.SIGINT) == 0
            assert close_of(other) == (1.0956, "ecb")  # it keeps the database that the first one started
            (postmaster,) = [words for words in processes_of(data_dir(env)) if " -D " in words]
            assert other.process.poll() is None
        assert "Traceback" not in serving.said
    until(lambda: gone(env), f"end of {postmaster}")


def test_the_database_may_be_killed(env, tmp_path):
    with Serving(env=env, log=tmp_path / "serve.log") as serving:
        serving.ready()
        added = ("add", "X", "--exchange", "XNAS", "--asset-class", "equity", "--currency", "USD")
        assert run("instruments", *added, env=env).code == 0
        pid = int((data_dir(env) / "postgres/cluster/postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        recovered = run("instruments", "--json", env=env)
        assert recovered.code == 0, recovered
        assert [one["symbol"] for one in recovered.json()] == ["X"]
        until(lambda: serving.get("/health/ready")[0] == 200, "the API finds the new server")
        assert serving.get("/api/v1/instruments")[1]["data"][0]["symbol"] == "X"
    until(lambda: gone(env), "end")


@on_linux
def test_several_workers_show_no_password_and_end_together(env, tmp_path):
    with Serving(env={**env, "WORKERS": "2"}, log=tmp_path / "serve.log") as serving:
        serving.ready()
        url = run("db", "url", env=env).out.strip()
        password = re.fullmatch(r"postgresql://market_data:(.+)@127\.0\.0\.1:\d+/market_data", url)
        words = {pid: words_of(pid) for pid in [serving.process.pid, *children(serving.process.pid)]}
        workers = [pid for pid in words if "spawn_main" in words[pid]]
        assert len(workers) == 2
        assert password is not None
        assert password[1] not in " ".join(words.values()) + serving.said
        assert serving.get("/api/v1/instruments")[0] == 200
        assert serving.stop(signal.SIGTERM) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    until(lambda: gone(env), "end")


@on_linux
def test_workers_end_with_their_parent_killed(env, tmp_path):
    with Serving(env={**env, "WORKERS": "2"}, log=tmp_path / "serve.log") as serving:
        serving.ready()
        serving.process.kill()
        serving.process.wait()
        until(lambda: serving.get("/health/live")[0] == 0, "the port is free again")
    until(lambda: gone(env), "end")


def words_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
