"""The OpenAPI document is true: a property-based tester finds nothing undocumented, and never a 500."""

import json
import threading
from urllib.parse import urlencode

import httpx2
import pytest
import schemathesis
import uvicorn
from pydantic import SecretStr
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import from_schema
from schemathesis.engine.events import FatalError, FuzzScenarioFinished, NonFatalError, ScenarioFinished
from sqlalchemy import text

from market_data.core.config import Settings
from market_data.db.base import Base
from market_data.db.queue import SCHEMA
from market_data.main import create_app
from tests.support.api import INSTRUMENT, PREFIX, PROBLEM, days, row

EXAMPLES = 60
"""Of each operation in each phase."""

CANNOT_BE_SAID = [400, 406, 413, 415, 422]
"""What a schema cannot say: end before start, a foreign token, an unreadable body."""

CONFIG = SchemathesisConfig.from_dict(
    {
        "seed": 7,
        "generation": {"max-examples": EXAMPLES},
        "checks": {
            "enabled": True,
            "positive_data_acceptance": {
                "expected-statuses": ["2xx", *map(str, [*CANNOT_BE_SAID, 404, 409])]
            },
        },
    }
)


@pytest.fixture(scope="module")
async def emptied(migrated):
    """The shared database, without what earlier tests left in it."""
    async with migrated.engine.begin() as connection:
        await connection.execute(text(f"TRUNCATE {', '.join(Base.metadata.tables)} RESTART IDENTITY CASCADE"))
        await connection.execute(text(f"TRUNCATE {SCHEMA}.pgqueuer, {SCHEMA}.pgqueuer_log RESTART IDENTITY"))
    return migrated


@pytest.fixture(scope="module")
def served(emptied):
    """The API on a free port, with instruments, bars and runs."""
    values = {name: field.default for name, field in Settings.model_fields.items()}
    values |= {"database_url": SecretStr(emptied.url), "log_level": "ERROR", "max_body_bytes": 100_000}
    values |= {"jobs_at_once": 0}  # nobody is asked: nothing leaves this machine
    app = create_app(Settings.model_construct(**values))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        thread.join(0.01)
    address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    with httpx2.Client(base_url=address) as client:
        seed(client)
    app.state.stopping.set()  # events of jobs that nobody does have an end
    yield address
    server.should_exit = True
    thread.join()


def seed(client):
    for symbol in ("ACME", "AAA", "0"):
        client.post(f"{PREFIX}/instruments", json=INSTRUMENT | {"symbol": symbol}).raise_for_status()
        rows = [*days(20), row("2024-02-30"), row("2024-03-01T12:00:00Z")]
        stored = client.post(f"{PREFIX}/prices", params={"symbol": symbol, "interval": "1d"}, json=rows)
        assert (stored.json()["inserted"], stored.json()["rejected"]) == (20, 2)
    kept = {"provider": "ecb", "symbols": ["EURUSD"], "intervals": ["1d"], "since": "2024-01-01"}
    for path, body in (
        ("schedules", {"name": "evening", "cron": "30 22 * * 1-5"}),
        ("subscriptions", kept | {"schedule": "evening"}),
        ("subscriptions/1/sync", None),
        ("ingestions", {"provider": "ecb", "symbols": ["EURUSD"]}),
    ):
        client.post(f"{PREFIX}/{path}", json=body).raise_for_status()
    client.put(f"{PREFIX}/calendars/XNYS/overrides/2024-01-04", json={}).raise_for_status()


@schemathesis.check
def failures_are_problems_that_name_the_field(ctx, response, case):
    if response.status_code < 400:
        return
    assert response.headers["content-type"] == [PROBLEM]
    body = json.loads(response.content)
    assert body["status"] == response.status_code
    assert body["request_id"] == response.headers["x-request-id"][0]
    assert body["detail"]
    if response.status_code in CANNOT_BE_SAID:
        assert body["errors"], body
        assert all(error["field"] and error["message"] for error in body["errors"])


def filter_case(context, case):
    """The HTTP parser itself refuses addresses over 64 KiB, in its own words."""
    return len(urlencode(case.query)) < 60_000


def failures(recorder):
    """Failed checks of a scenario, each with the request that shows it."""
    for case_id, checks in recorder.checks.items():
        for check in checks:
            if check.failure_info is not None:
                response = recorder.interactions[case_id].response
                answer = f"{response.status_code} {response.content[:300]!r}" if response else "no answer"
                failure = check.failure_info
                yield f"{check.name}: {failure.failure}\n{failure.code_sample}\n{answer}"


def test_a_property_based_tester_finds_nothing(served):
    schema = schemathesis.openapi.from_url(f"{served}/openapi.json", config=CONFIG)
    schema.hook(filter_case)
    wrong, answered = [], 0
    for event in from_schema(schema).execute():
        if isinstance(event, NonFatalError | FatalError):
            wrong.append(str(event))
        if isinstance(event, ScenarioFinished | FuzzScenarioFinished):
            answered += len(event.recorder.interactions)
            wrong += failures(event.recorder)
    if wrong:
        pytest.fail("\n\n".join(wrong[:20]), pytrace=False)
    assert answered > 2000  # it did ask


def documented(served):
    return httpx2.get(f"{served}/openapi.json").json()


def test_every_call_of_the_contract_is_documented(served):
    paths = documented(served)["paths"]
    found = {
        f"{method.upper()} {path.removeprefix(PREFIX)}" for path, told in paths.items() for method in told
    }
    assert found == {
        "GET /health",
        "GET /health/live",
        "GET /health/ready",
        "GET /metrics",
        "GET /instruments",
        "POST /instruments",
        "GET /instruments/{instrument_id}",
        "PATCH /instruments/{instrument_id}",
        "DELETE /instruments/{instrument_id}",
        "GET /instruments/{instrument_id}/prices",
        "DELETE /instruments/{instrument_id}/prices",
        "GET /series",
        "GET /prices",
        "POST /prices",
        "GET /prices/latest",
        "POST /ingestions",
        "GET /ingestions",
        "GET /ingestions/{run_id}",
        "GET /ingestions/{run_id}/rejections",
        "GET /providers",
        "GET /subscriptions",
        "POST /subscriptions",
        "GET /subscriptions/{subscription_id}",
        "PATCH /subscriptions/{subscription_id}",
        "DELETE /subscriptions/{subscription_id}",
        "POST /subscriptions/{subscription_id}/sync",
        "GET /schedules",
        "POST /schedules",
        "GET /schedules/{schedule_id}",
        "PATCH /schedules/{schedule_id}",
        "DELETE /schedules/{schedule_id}",
        "GET /jobs",
        "GET /jobs/{job_id}",
        "DELETE /jobs/{job_id}",
        "POST /jobs/{job_id}/retry",
        "GET /jobs/{job_id}/events",
        "GET /coverage",
        "GET /gaps",
        "POST /gaps/repair",
        "GET /calendars",
        "GET /calendars/{name}/overrides",
        "PUT /calendars/{name}/overrides/{day}",
        "DELETE /calendars/{name}/overrides/{day}",
    }


def test_every_failure_is_documented_as_a_problem(served):
    for path, told in documented(served)["paths"].items():
        for method, operation in told.items():
            for status, answer in operation["responses"].items():
                assert "X-Request-ID" in answer["headers"], (method, path, status)
                if status >= "400":
                    assert list(answer["content"]) == [PROBLEM], (method, path, status)
            assert {"500", "503"} <= set(operation["responses"])


def test_no_parameter_may_be_null(served):
    for told in documented(served)["paths"].values():
        for operation in told.values():
            assert '"null"' not in json.dumps(operation.get("parameters"))


def test_the_document_is_served_for_people_too(served):
    assert httpx2.get(f"{served}/docs").status_code == 200
