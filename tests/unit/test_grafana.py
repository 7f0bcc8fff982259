"""What Grafana is given: dashboards, rules, provisioning, as far as they can be judged without it."""

import json
import re
from datetime import datetime
from pathlib import Path

import pytest
import yaml
from grafana import __main__ as written
from grafana.query import SOURCE_TYPE, SOURCE_UID
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.alerting import Rule
from grafana_foundation_sdk.models.dashboard import Dashboard as Model

from tests.support.dashboards import asked, variables
from tests.support.grafana import Choice, Dashboard, Window
from tests.unit.test_docs import load

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "grafana"
FILES = sorted(FOLDER.glob("dashboards/*.json"))
QUERIES = list(asked())
UIDS = {"market-data-overview", "market-data-instrument", "market-data-quality", "market-data-storage"}
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
each_query = pytest.mark.parametrize("one", QUERIES, ids=str)


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def provisioned(name: str) -> dict:
    return yaml.safe_load((FOLDER / "provisioning" / name / "market-data.yml").read_text(encoding="utf-8"))


# Dashboards


def test_the_files_are_current(capsys):
    assert written.main(["--check"]) == 0
    assert {path.stem for path in FILES} == UIDS


def test_what_is_out_of_date_is_named_and_written(tmp_path, monkeypatch, capsys):
    (tmp_path / "dashboards").mkdir()
    (tmp_path / "provisioning/alerting").mkdir(parents=True)
    (tmp_path / "dashboards/old.json").write_text("{}")
    monkeypatch.setattr(written, "HERE", tmp_path)
    assert written.main(["--check"]) == 1
    assert "market-data-storage.json" in (told := capsys.readouterr().err)
    assert "old.json" in told
    assert written.main([]) == 0
    assert written.main(["--check"]) == 0
    assert not (tmp_path / "dashboards/old.json").exists()


@each_file
def test_the_sdk_reads_what_it_wrote(path):
    register_default_plugins()
    again = Model.from_json(read(path))
    assert json.loads(json.dumps(again, cls=JSONEncoder)) == read(path)


@each_file
def test_a_dashboard_can_be_found_and_read(path):
    found = read(path)
    assert found["uid"] == path.stem
    assert found["description"]
    assert found["tags"] == ["market-data"]
    assert found["editable"] is False
    assert found["links"][0]["tags"] == ["market-data"]
    ids = [panel["id"] for panel in found["panels"]]
    assert ids == list(range(1, len(ids) + 1))
    for panel in found["panels"]:
        assert panel["description"], panel["id"]
        assert panel["datasource"] == {"type": SOURCE_TYPE, "uid": SOURCE_UID}
        assert [target["datasource"] for target in panel["targets"]] == [panel["datasource"]]
        assert panel["maxDataPoints"] <= 1000
    for variable in found["templating"]["list"]:
        assert variable["description"], variable["name"]


@each_file
def test_panels_neither_overlap_nor_leave_the_grid(path):
    taken: set[tuple[int, int]] = set()
    for panel in read(path)["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells


@each_query
def test_a_panel_uses_only_what_the_reader_may(one):
    made = load(next(ROOT.glob("alembic/versions/0004_*.py")), "made")
    before = load(next(ROOT.glob("alembic/versions/0002_*.py")), "before")
    functions = {name for name, function in (made.FUNCTIONS | made.CALCULATIONS).items() if function.readable}
    named = set(
        re.findall(r"(?:FROM|JOIN|LATERAL) ([a-z_]+)", re.sub(r"extract\([^)]*\)", "", one.query.sql))
    )
    assert named <= set(made.VIEWS) | set(before.VIEWS) | functions | {"price_return", "price_candle"}, named
    assert "v_price " not in one.query.sql  # it has all bars of all series


@each_query
def test_a_panel_of_rows_has_a_limit(one):
    bounded = "LIMIT" in one.query.sql or "v_storage" in one.query.sql
    single = len(one.query.shape) == 1
    assert one.query.is_series or bounded or single


@each_query
def test_choices_stand_where_they_are_quoted(one):
    kinds = {variable.name: bool(variable.multi) for variable in variables(one.dashboard)}
    for name, multi in kinds.items():
        uses = len(re.findall(rf"\$\{{{name}\}}|\${name}\b", one.query.sql))
        quoted = one.query.sql.count(f"{name} IN (${{{name}}})" if multi else f"'${{{name}}}'")
        assert uses == quoted, name
    assert not re.search(r"\$\{\w+:", one.query.sql)


def test_links_carry_columns_that_are_there():
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"/d/([a-z-]+)", text)) <= UIDS
        for panel in read(path)["panels"]:
            fields = set(re.findall(r"__data\.fields\.(\w+)", json.dumps(panel)))
            (shape,) = (one.query.shape for one in QUERIES if one.query.sql == panel["targets"][0]["rawSql"])
            assert fields <= set(shape)
    opened = set(
        re.findall(r"var-(\w+)=", (FOLDER / "dashboards/market-data-overview.json").read_text("utf-8"))
    )
    assert opened <= {variable.name for variable in variables("market-data-instrument")}


def test_columns_that_are_described_exist():
    for path in FILES:
        for panel in read(path)["panels"]:
            (shape,) = (one.query.shape for one in QUERIES if one.query.sql == panel["targets"][0]["rawSql"])
            for override in panel["fieldConfig"]["overrides"]:
                assert override["matcher"]["options"] in shape


# Provisioning


def test_the_data_source_is_read_from_the_environment():
    (source,) = provisioned("datasources")["datasources"]
    assert (source["uid"], source["type"]) == (SOURCE_UID, SOURCE_TYPE)
    taken = re.findall(r"\$(\w+)", json.dumps(source))
    assert sorted(taken) == [
        "GRAFANA_DB_HOST",
        "GRAFANA_DB_NAME",
        "GRAFANA_DB_PASSWORD",
        "GRAFANA_DB_ROOT_CERT",
        "GRAFANA_DB_SSLMODE",
        "GRAFANA_DB_USER",
    ]
    assert source["secureJsonData"] == {"password": "$GRAFANA_DB_PASSWORD"}
    assert source["jsonData"]["timescaledb"] is False  # time_bucket is missing on a plain PostgreSQL


def test_dashboards_are_found_where_they_are_mounted():
    (provider,) = provisioned("dashboards")["providers"]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
    assert provider["allowUiUpdates"] is False


def test_alert_rules_are_complete():
    (group,) = provisioned("alerting")["groups"]
    assert [rule["title"] for rule in group["rules"]] == ["Stale series", "Failing runs", "Rejection rate"]
    for rule in group["rules"]:
        asked_first, compared = rule["data"]
        assert rule["condition"] == compared["refId"] == "B"
        assert compared["model"]["expression"] == asked_first["refId"] == "A"
        assert asked_first["datasourceUid"] == SOURCE_UID
        panels = read(FOLDER / f"dashboards/{rule['dashboardUid']}.json")["panels"]
        assert rule["panelId"] in {panel["id"] for panel in panels}
        known = Rule.from_json({**rule, "folderUID": "", "orgID": 1, "ruleGroup": group["name"]})
        assert (known.title, known.for_val, known.condition) == (rule["title"], rule["for"], "B")


def test_nothing_in_the_rules_looks_like_a_variable_of_the_environment():
    assert "$" not in (FOLDER / "provisioning/alerting/market-data.yml").read_text(encoding="utf-8")


# The expander of the tests, against examples of Grafana's documentation

HOUR = Window(
    start=datetime.fromisoformat("2017-04-21T05:01:17+00:00"),
    end=datetime.fromisoformat("2017-04-21T05:06:17+00:00"),
    interval="5m",
)


@pytest.mark.parametrize(
    ("sql", "expanded"),
    [
        ("$__timeFilter(dateColumn)", "dateColumn BETWEEN '2017-04-21T05:01:17Z' AND '2017-04-21T05:06:17Z'"),
        ("$__timeFrom()", "'2017-04-21T05:01:17Z'"),
        ("$__timeTo()", "'2017-04-21T05:06:17Z'"),
        ("$__timeGroupAlias(c,$__interval)", 'floor(extract(epoch from c)/300)*300 AS "time"'),
        ("$__timeGroup(c, '5m')", "floor(extract(epoch from c)/300)*300"),
        ("$__interval_ms", "300000"),
        ("x IN ($several)", "x IN ('a','b''c')"),
        ("x IN (${all})", "x IN (all_of_it)"),
        ("x = '${one}'", "x = 'd''e'"),
        ("x IN (${single})", "x IN ('f')"),
        ("$unknown", "$unknown"),
    ],
)
def test_queries_are_expanded_as_documented(sql, expanded):
    choices = {
        "several": Choice(["a", "b'c"], multi=True),
        "all": Choice(None, multi=True, all_value="all_of_it"),
        "one": Choice("d'e"),
        "single": Choice("f", multi=True),
    }
    assert Dashboard(HOUR, choices).expand(sql) == expanded
