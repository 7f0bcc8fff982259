"""A Grafana that was started with our provisioning: what it loaded, and whether it gets data with it."""

import json
import os
from pathlib import Path

import httpx2
import pytest
from grafana.alerts import RULES
from grafana.query import SOURCE_TYPE, SOURCE_UID

from tests.support.dashboards import STOCKS, asked
from tests.support.grafana import Choice, Dashboard

URL = os.environ.get("TEST_GRAFANA_URL")  # with login and password: http://admin:secret@127.0.0.1:3000
DASHBOARDS = sorted((Path(__file__).parents[2] / "grafana/dashboards").glob("*.json"))
pytestmark = pytest.mark.skipif(
    URL is None,
    reason="not run: no Grafana at TEST_GRAFANA_URL, which loading, alerting and provisioning need",
)


@pytest.fixture
def server():
    with httpx2.Client(base_url=URL or "", timeout=30) as client:
        yield client


def answer(response):
    assert response.status_code == 200, response.text
    return response.json()


def test_the_data_source_is_there_and_works(server):
    found = answer(server.get(f"/api/datasources/uid/{SOURCE_UID}"))
    assert (found["type"], found["readOnly"]) == (SOURCE_TYPE, True)
    assert answer(server.get(f"/api/datasources/uid/{SOURCE_UID}/health"))["status"] == "OK"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_each_dashboard_was_loaded_as_it_is(server, path):
    ours = json.loads(path.read_text(encoding="utf-8"))
    found = answer(server.get(f"/api/dashboards/uid/{path.stem}"))
    assert found["meta"]["provisioned"] is True
    assert found["meta"]["folderTitle"] == "Market data"
    queries = [panel["targets"][0]["rawSql"] for panel in found["dashboard"]["panels"]]
    assert queries == [panel["targets"][0]["rawSql"] for panel in ours["panels"]]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_rule_was_loaded(server, rule):
    found = answer(server.get(f"/api/v1/provisioning/alert-rules/market-data-{rule.name}"))
    assert found["title"] == rule.title
    assert [one["refId"] for one in found["data"]] == ["A", "B"]
    assert found["data"][0]["model"]["rawSql"] == rule.query.sql


@pytest.mark.parametrize("one", [one for one in asked() if one.dashboard.endswith("storage")], ids=str)
def test_its_macros_are_those_of_our_tests(server, one):
    """Macros are left to it, variables are filled in as its pages do it."""
    shown = Dashboard(STOCKS, {"unused": Choice("")})
    query = one.query.to_json() | {
        "datasource": {"type": SOURCE_TYPE, "uid": SOURCE_UID},
        "intervalMs": shown.window.seconds * 1000,
    }
    span = {
        name: str(int(at.timestamp() * 1000)) for name, at in (("from", STOCKS.start), ("to", STOCKS.end))
    }
    found = answer(server.post("/api/ds/query", json={"queries": [query], **span}))["results"]["A"]
    assert "error" not in found
    for frame in found["frames"]:
        names = [field["name"].lower() for field in frame["schema"]["fields"]]
        assert set(names) <= {*one.query.shape, "time"}
