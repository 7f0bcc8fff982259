"""Alert rules, in the form of Grafana's file provisioning.

Grafana replaces what looks like `$NAME` in these files by environment variables: no macro may stand in
their SQL.
"""

from dataclasses import dataclass

from grafana.parts import TAG
from grafana.query import SOURCE, SOURCE_UID, Query

EXPRESSION = "__expr__"


@dataclass(frozen=True, slots=True)
class Rule:
    """Fires for each source whose number is above the limit for so long."""

    name: str
    title: str
    sql: str
    above: float
    lasting: str
    dashboard: str
    summary: str

    @property
    def query(self) -> Query:
        """What is asked: one number a source."""
        return Query(self.sql, {"source": "string", "value": "number"})


RULES = (
    Rule(
        "stale-series",
        "Stale series",
        "SELECT source, count(*) FILTER (WHERE stale)::double precision AS value FROM v_freshness GROUP "
        "BY source",
        0,
        "30m",
        "quality",
        "{{ .Labels.source }}: {{ .Values.A.Value }} series of active instruments are stale",
    ),
    Rule(
        "failing-runs",
        "Failing runs",
        """
        SELECT source, count(*) FILTER (WHERE status IN ('failed', 'interrupted'))::double precision AS value
        FROM (SELECT source, status, row_number() OVER (PARTITION BY source ORDER BY run_id DESC) AS
        place FROM v_run
              WHERE finished_at > now() - interval '7 days') r
        WHERE place <= 3 GROUP BY source
        """,
        1,
        "0s",
        "quality",
        "{{ .Labels.source }}: {{ .Values.A.Value }} of the last 3 runs failed",
    ),
    Rule(
        "rejection-rate",
        "Rejection rate",
        """
        SELECT source,
               coalesce(sum(rejected) / nullif(sum(rejected + inserted + updated + unchanged), 0),
               0)::double precision
                   AS value
        FROM v_run WHERE finished_at > now() - interval '1 day' GROUP BY source
        """,
        0.01,
        "0s",
        "quality",
        "{{ .Labels.source }}: more than 1 % of the rows of the last day were rejected",
    ),
)


def alerting(panels: dict[str, int]) -> dict[str, object]:
    """Return the file of rules; `panels` names by the title of its rule the panel each belongs to."""
    group = {
        "orgId": 1,
        "name": TAG,
        "folder": "Market data",
        "interval": "5m",
        "rules": [_rule(rule, panels[rule.name]) for rule in RULES],
    }
    return {"apiVersion": 1, "groups": [group]}


def _rule(rule: Rule, panel: int) -> dict[str, object]:
    window = {"relativeTimeRange": {"from": 86400, "to": 0}}
    expression = {"type": EXPRESSION, "uid": EXPRESSION}
    threshold = {
        "refId": "B",
        "type": "threshold",
        "datasource": expression,
        "expression": "A",
        "conditions": [{"evaluator": {"type": "gt", "params": [rule.above]}}],
    }
    return {
        "uid": f"{TAG}-{rule.name}",
        "title": rule.title,
        "condition": "B",
        "data": [
            {
                "refId": "A",
                "datasourceUid": SOURCE_UID,
                **window,
                "model": rule.query.to_json() | {"datasource": SOURCE},
            },
            {"refId": "B", "datasourceUid": EXPRESSION, **window, "model": threshold},
        ],
        "dashboardUid": f"{TAG}-{rule.dashboard}",
        "panelId": panel,
        "noDataState": "OK",
        "execErrState": "Error",
        "for": rule.lasting,
        "annotations": {"summary": rule.summary},
        "labels": {"service": TAG},
    }
