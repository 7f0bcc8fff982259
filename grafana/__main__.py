"""Write the dashboards and alert rules; with `--check` name those that are out of date, and write nothing."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from grafana.alerts import alerting
from grafana.data_quality import data_quality
from grafana.instrument import instrument
from grafana.market_overview import market_overview
from grafana.storage import storage

HERE = Path(__file__).parent
ALERTED = {
    "stale-series": "Stale series",
    "failing-runs": "Failed runs",
    "rejection-rate": "Rejection rate",
}


def dashboards() -> list[Dashboard]:
    """Build all dashboards, their panels numbered in order."""
    built = [made().build() for made in (market_overview, instrument, data_quality, storage)]
    for dashboard in built:
        for place, panel in enumerate(panels(dashboard), 1):
            panel.id_val = place
    return built


def panels(dashboard: Dashboard) -> list[Panel]:
    """Return the panels of a dashboard; there are no rows to fold."""
    return [panel for panel in dashboard.panels or () if isinstance(panel, Panel)]


def files() -> dict[str, str]:
    """Return what every generated file must hold, by its path in this folder."""
    built = dashboards()
    quality = next(dashboard for dashboard in built if dashboard.uid == "market-data-quality")
    by_title = {panel.title: panel.id_val for panel in panels(quality)}
    numbered = {rule: by_title[title] or 0 for rule, title in ALERTED.items()}
    # JSON is YAML: one encoder for both, and Grafana reads either.
    return {
        **{f"dashboards/{dashboard.uid}.json": _json(dashboard) for dashboard in built},
        "provisioning/alerting/market-data.yml": _json(alerting(numbered)),
    }


def _json(value: object) -> str:
    return json.dumps(value, cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Write the files, or check them."""
    wanted = {HERE / name: text for name, text in files().items()}
    kept = {path: path.read_text(encoding="utf-8") for path in HERE.glob("dashboards/*.json")}
    stale = [
        path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    orphans = [path for path in kept if path not in wanted]
    names = ", ".join(str(path.relative_to(HERE)) for path in [*stale, *orphans])
    if "--check" in arguments and names:
        sys.stderr.write(f"out of date: {names}. `make dashboards` writes them anew\n")
        return 1
    if "--check" not in arguments:
        for path in stale:
            path.write_text(wanted[path], encoding="utf-8")
        for path in orphans:
            path.unlink()
    sys.stdout.write(f"wrote {names}\n" if names else "dashboards are up to date\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
