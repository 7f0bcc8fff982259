"""What is counted, how it is written out, and that the documentation names all of it."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from market_data.core import metrics
from market_data.core.exceptions import ConfigurationError
from market_data.core.metrics import Reading
from market_data.etl.allowance import Allowance
from market_data.etl.provider import Quota
from market_data.services import metric
from tests.support.metrics import value

ROOT = Path(__file__).parents[2]


def test_requests_are_counted_by_route_method_and_class():
    before = value("market_data_http_requests_total", method="GET", route="/r", status="4xx")
    for status in (404, 422, 200, 0):
        metrics.http_answered("GET", "/r", status, 0.02)
    metrics.http_answered("BREW", "/r", 405, 0.02)
    after = value("market_data_http_requests_total", method="GET", route="/r", status="4xx")
    assert after - before == 2
    assert value("market_data_http_requests_total", method="GET", route="/r", status="none") >= 1
    assert value("market_data_http_requests_total", method="other", route="/r", status="4xx") >= 1
    assert value("market_data_http_request_seconds_count", method="GET", route="/r") >= 4


def test_sources_beyond_a_number_are_one(monkeypatch):
    monkeypatch.setattr(metrics, "_sources", set())
    monkeypatch.setattr(metrics, "_SOURCES", 2)
    before = value("market_data_bars_total", source="other", outcome="inserted") or 0
    for source in ("s1", "s2", "s3", "s4", "s1"):
        metrics.bars_counted(source, {"inserted": 2, "updated": 0})
    assert value("market_data_bars_total", source="s1", outcome="inserted") == 4
    assert value("market_data_bars_total", source="other", outcome="inserted") - before == 4
    assert value("market_data_bars_total", source="s1", outcome="updated") == 0


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=0.0.4,application/openmetrics-text", "text/plain; version=0.0.4; charset=utf-8"),
        (
            "application/openmetrics-text;version=1.0.0;escaping=x;q=0.6,text/plain;q=0.5",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        (
            "application/openmetrics-text;version=oops",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
    ],
)
def test_formats(accept, media_type):
    readings = [
        Reading(metrics.QUEUE_JOBS, 3, ("sync", 'say "x"\n', "queued")),
        Reading(metrics.DATABASE_UP, 1),
        Reading(metrics.QUEUE_JOBS, 4, ("repair", "", "failed")),
    ]
    text, found = metrics.render(readings, accept)
    assert found == media_type
    assert text.endswith(b"# EOF\n") == media_type.startswith("application/openmetrics")
    assert b'market_data_queue_jobs{kind="sync",provider="say \\"x\\"\\n",status="queued"} 3.0' in text
    assert text.count(b"# TYPE market_data_queue_jobs gauge") == 1
    assert b"_created" not in text


def test_documentation_names_every_metric_with_its_labels():
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(market_data_\w+)` \| (\w+) \|([^|]*)\|", page, re.MULTILINE)
    told = {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    assert told == metrics.described()
    examples = re.findall(
        r"\bmarket_data_\w+", "".join(re.findall(r"```(?:yaml|promql)\n(.*?)```", page, re.DOTALL))
    )
    known = {family.name for family in text_string_to_metric_families(metrics.render([])[0].decode())}
    assert examples
    for name in set(examples) - {"market_data_reader"}:
        bare = re.sub(r"_(total|bucket|count|sum)$", "", name)
        assert name in told or bare in told or bare in known, name


def test_a_provider_with_wrong_settings_or_no_limits_has_no_allowance(monkeypatch):
    def allowed(client):
        if client == "wrong":
            raise ConfigurationError("its setting is wrong")
        quotas = (Quota(25, timedelta(days=1)), Quota(20, timedelta(days=1)))
        of = Allowance(provider="fine", account="fine:key", requests_per_minute=5, quotas=quotas)
        return of if client == "fine" else None

    monkeypatch.setattr(metric, "providers", lambda: {name: name for name in ("wrong", "folder", "fine")})
    monkeypatch.setattr(metric, "allowance_of", allowed)
    assert dict(metric._allowances()) == {"fine:key": {timedelta(days=1): 20}}
