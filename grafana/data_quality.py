"""Data quality: how fresh the data is, what runs brought, and what they refused."""

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models import common, units

from grafana import parts
from grafana.query import Query

BY_SOURCE = "source IN (${source})"
CREATED = f"FROM v_run WHERE {BY_SOURCE} AND $__timeFilter(created_at)"
STEP = "$__timeGroupAlias(created_at, $__interval)"
NONE_IS_GOOD: parts.Thresholds = ((None, parts.UP), (1, parts.DOWN))


def data_quality() -> builders.Dashboard:
    """Return the dashboard."""
    about = (
        "Freshness of each series, runs, what they wrote and what they refused. Gaps inside series "
        "are not shown: that panel comes with the coverage ledger, which tells missing bars from none."
    )
    made = parts.dashboard("quality", "Data quality", about, "now-7d", "1m")
    made.with_variable(
        parts.several(
            "source",
            "Source",
            "SELECT source FROM v_series UNION SELECT source FROM v_run ORDER BY source",
            "Provider name, file or api",
        )
    )
    panels = [*_figures(), _freshness(), _rejections(), _written(), _durations(), _reasons(), _runs()]
    for panel in panels:
        made.with_panel(panel)
    return made


def _figures() -> list[parts.AnyPanel]:
    return [
        parts.number(
            "Stale series",
            "Series of active instruments whose next bar is later than a weekend and a holiday explain.",
            Query(
                f"SELECT count(*) FILTER (WHERE stale) AS stale FROM v_freshness WHERE {BY_SOURCE}",
                {"stale": "number"},
            ),
            units.Short,
            6,
            NONE_IS_GOOD,
        ),
        parts.number(
            "Failed runs",
            "Runs of the time range that failed, or died on the way.",
            Query(
                f"SELECT count(*) FILTER (WHERE status IN ('failed', 'interrupted')) AS failed {CREATED}",
                {"failed": "number"},
            ),
            units.Short,
            6,
            NONE_IS_GOOD,
        ),
        parts.number(
            "Rejected rows",
            "Rows that broke a rule, in runs of the time range.",
            Query(
                f"SELECT coalesce(sum(rejected), 0)::bigint AS rejected {CREATED}",
                {"rejected": "number"},
            ),
            units.Short,
            6,
            ((None, parts.UP), (1, parts.WARNING)),
        ),
        parts.number(
            "Rejection rate",
            "Rejected rows among all rows that runs of the time range read.",
            Query(
                f"""
                SELECT (sum(rejected) / nullif(sum(rejected + inserted + updated + unchanged),
                0))::double precision
                       AS rate {CREATED}
                """,
                {"rate": "number"},
            ),
            units.PercentUnit,
            6,
            ((None, parts.UP), (0.001, parts.WARNING), (0.01, parts.DOWN)),
            2,
        ),
    ]


def _freshness() -> parts.AnyPanel:
    query = Query(
        f"""
        SELECT symbol, exchange, interval, source, basis, last_ts AS last_bar, extract(epoch FROM age)
        AS age, due_at,
               extract(epoch FROM overdue) AS overdue, stale, instrument_id
        FROM v_freshness WHERE {BY_SOURCE} ORDER BY stale DESC, active DESC, overdue DESC, series_id
        LIMIT {parts.ROWS}
        """,
        {
            **dict.fromkeys(("symbol", "exchange", "interval", "source", "basis"), "string"),
            "last_bar": "time",
            "age": "number",
            "due_at": "time",
            "overdue": "number",
            "stale": "boolean",
            "instrument_id": "number",
        },
    )
    about = (
        "The latest first. Weekends are known (of all but crypto), holidays and sessions are not: bars "
        "up to a day "
        f"long may come a weekday later, and stale allows 4 days more. At most {parts.ROWS} rows."
    )
    table = parts.rows("Freshness of each series", about, query, (24, 11))
    parts.column(table, "symbol", **parts.opens_instrument())
    parts.column(table, "age", unit=units.DurationSeconds)
    parts.column(table, "instrument_id", custom__hidden=True)
    told = {
        "true": {"text": "stale", "color": parts.DOWN, "index": 0},
        "false": {"text": "as expected", "color": parts.UP, "index": 1},
    }
    parts.column(
        table,
        "stale",
        mappings=[{"type": "value", "options": told}],
        custom__cellOptions={"type": "color-text"},
    )
    day = 86400
    late: parts.Thresholds = ((None, parts.UP), (1, parts.WARNING), (4 * day, parts.DOWN))
    return parts.colored_text(table, "overdue", units.DurationSeconds, late)


def _rejections() -> parts.AnyPanel:
    query = Query(
        f"""
        SELECT {STEP}, reason AS metric, sum(rows)::bigint AS rejected
        FROM v_rejection_reason WHERE {BY_SOURCE} AND $__timeFilter(created_at) GROUP BY 1, 2 ORDER BY 1, 2
        """,
        {"time": "time", "metric": "string", "rejected": "number"},
    )
    about = "Rejected rows by the rule they broke; counted are those kept, the first 10,000 of a run."
    return parts.bars("Rejections by reason", about, query, units.Short, (12, 8))


def _written() -> parts.AnyPanel:
    query = Query(
        f"""
        SELECT {STEP}, sum(inserted)::bigint AS inserted, sum(updated)::bigint AS updated
        {CREATED} GROUP BY 1 ORDER BY 1
        """,
        {"time": "time", "inserted": "number", "updated": "number"},
    )
    about = "Bars that runs inserted, and bars they replaced by different ones."
    return parts.bars("Bars written", about, query, units.Short, (12, 8))


def _durations() -> parts.AnyPanel:
    query = Query(
        f"""
        SELECT {STEP}, source AS metric, max(extract(epoch FROM duration))::double precision AS seconds
        {CREATED} AND duration IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2
        """,
        {"time": "time", "metric": "string", "seconds": "number"},
    )
    about = "The longest run of each step and source."
    return (
        parts.lines("Duration of runs", about, query, units.Seconds, (12, 8))
        .draw_style(common.GraphDrawStyle.POINTS)
        .show_points(common.VisibilityMode.ALWAYS)
        .point_size(6)
        .min(0)
    )


def _reasons() -> parts.AnyPanel:
    query = Query(
        f"""
        SELECT reason, sum(rows)::bigint AS rejected, count(DISTINCT run_id) AS runs, max(created_at)
        AS last_run
        FROM v_rejection_reason WHERE {BY_SOURCE} AND $__timeFilter(created_at)
        GROUP BY reason ORDER BY rejected DESC, reason LIMIT {parts.ROWS}
        """,
        {"reason": "string", "rejected": "number", "runs": "number", "last_run": "time"},
    )
    return parts.rows("Rules broken", "Rejected rows of the time range by rule.", query, (12, 8))


def _runs() -> parts.AnyPanel:
    query = Query(
        f"""
        SELECT run_id, source, status, created_at, extract(epoch FROM duration) AS duration, inserted,
        updated, unchanged,
               unfinished, rejected, left(error, 200) AS error {CREATED} ORDER BY run_id DESC LIMIT
               {parts.ROWS}
        """,
        {
            "run_id": "number",
            "source": "string",
            "status": "string",
            "created_at": "time",
            **dict.fromkeys(
                ("duration", "inserted", "updated", "unchanged", "unfinished", "rejected"), "number"
            ),
            "error": "string",
        },
    )
    about = f"The newest first, at most {parts.ROWS}. `market-data runs ID` shows the rows a run refused."
    table = parts.rows("Runs", about, query, (24, 10))
    colors = {
        "succeeded": parts.UP,
        "partial": parts.WARNING,
        "failed": parts.DOWN,
        "interrupted": parts.DOWN,
        "cancelled": "gray",
        "running": parts.CALM,
        "queued": parts.CALM,
    }
    told = {status: {"color": color, "index": place} for place, (status, color) in enumerate(colors.items())}
    parts.column(
        table,
        "status",
        mappings=[{"type": "value", "options": told}],
        custom__cellOptions={"type": "color-text"},
    )
    parts.column(table, "duration", unit=units.Seconds, decimals=1)
    return parts.colored_text(table, "rejected", units.Short, ((None, "text"), (1, parts.WARNING)))
