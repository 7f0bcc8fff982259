"""Metrics of several processes: API workers tell what all of them counted, a worker of the queue its own."""

import signal
import urllib.request

from tests.support.command import Serving, ended, free_port, run, start, until
from tests.support.metrics import value


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return answer.read().decode()


def test_workers_of_the_api_tell_what_all_of_them_counted(env, tmp_path):
    folders = tmp_path / "tmp"
    folders.mkdir()
    with Serving(env={**env, "WORKERS": "2", "TMPDIR": str(folders)}, log=tmp_path / "serve.log") as serving:
        serving.ready()
        for _ in range(20):
            assert serving.get("/api/v1/instruments")[0] == 200
        labels = {"method": "GET", "route": "/instruments", "status": "2xx"}
        text = scrape(serving.port)
        assert value("market_data_http_requests_total", text, **labels) == 20
        assert value("market_data_http_request_seconds_count", text, method="GET", route="/instruments") == 20
        assert value("market_data_database_up", text) == 1
        (shared,) = folders.glob("market-data-metrics-*")
        assert len({file.stem.rpartition("_")[2] for file in shared.glob("*.db")}) == 2
        assert serving.stop(signal.SIGINT) == 0
    assert not list(folders.glob("market-data-metrics-*"))


def test_a_worker_of_the_queue_serves_its_own(env):
    port = free_port()
    worker = start("worker", "--metrics-port", port, env=env)

    def reached() -> str:
        try:
            return scrape(port)
        except OSError:
            return ""

    text = until(reached, "the worker's metrics")
    assert "# TYPE market_data_jobs_total counter" in text or "# TYPE market_data_jobs counter" in text
    assert value("process_resident_memory_bytes", text) > 0
    second = run("worker", "--metrics-port", port, env=env)
    assert second.code == 2
    assert "METRICS_PORT: cannot listen on 127.0.0.1" in second.complaint
    worker.send_signal(signal.SIGINT)
    assert ended(worker).code == 0
    exposed = run("worker", "--metrics-port", port, env={**env, "HOST": "0.0.0.0"})  # noqa: S104 # refused
    assert "HOST=0.0.0.0 is reachable from other machines" in exposed.complaint
