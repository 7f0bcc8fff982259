"""Views and functions for dashboards: last prices, returns, volatility, drawdown, freshness, storage.

Revision: 0004, after 0003

They are all that the reader role may use. Views read with their owner's rights; functions that read tables are
SECURITY DEFINER with a pinned search_path, and only the reader may call them. What they say is in `alembic/sql/0004`.
"""

from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SQL = Path(__file__).parents[1] / "sql" / revision


_SERIES = """
DECLARE found_id integer; begins timestamptz := start_ts;
BEGIN
    SELECT s.id INTO found_id FROM series s
    WHERE s.instrument_id = $1 AND s.interval = $2 AND s.source = $3 AND s.basis = $4;
"""


def _sql(name: str) -> str:
    return (SQL / f"{name}.sql").read_text(encoding="utf-8")


# One table an interval: a union of both would be planned for both.
def _either(name: str) -> str:
    statements = _sql(name)
    daily, intraday = (statements.format(table=f"market_price_{kind}") for kind in ("daily", "intraday"))
    return f"IF bar_interval IN ('1d', '1w', '1mo') THEN\n{daily}ELSE\n{intraday}END IF;"


class Function(NamedTuple):
    """A function: what it takes and gives, and whether the reader may call it."""

    arguments: str
    returns: str
    comment: str
    body: str
    language: str = "sql"
    readable: bool = True


PRICES = "open double precision, high double precision, low double precision, close double precision"
KEY = "instrument_id integer, bar_interval text, source text, basis text, start_ts timestamptz, end_ts timestamptz"
STEP = "step interval DEFAULT '0'"

# They read no table: their bodies are parsed once, need no search_path, and are inlined.
CALCULATIONS = {
    "bar_length": Function(
        "bar_interval text",
        "interval",
        "Length of a bar",
        "CASE bar_interval WHEN '1m' THEN interval '1 minute' WHEN '5m' THEN '5 minutes' WHEN '15m' THEN '15 minutes' "
        "WHEN '30m' THEN '30 minutes' WHEN '1h' THEN '1 hour' WHEN '4h' THEN '4 hours' WHEN '1d' THEN '1 day' "
        "WHEN '1w' THEN '7 days' WHEN '1mo' THEN '1 month' END",
    ),
    "bar_end": Function(
        "ts timestamptz, bar_interval text",
        "timestamptz",
        "First instant after a bar, from its start; months are counted in UTC",
        "(ts AT TIME ZONE 'UTC' + bar_length(bar_interval)) AT TIME ZONE 'UTC'",
    ),
    "periods_per_year": Function(
        "bar_interval text, asset_class text",
        "double precision",
        "Bars in a year, to annualise by: 12 months, 52 weeks, 252 days (crypto 365); of shorter bars as many as fit "
        "into so many days of 6.5 hours (fx and crypto: 24)",
        "CASE bar_interval WHEN '1mo' THEN 12 WHEN '1w' THEN 52 "
        "ELSE CASE asset_class WHEN 'crypto' THEN 365 ELSE 252 END * CASE WHEN bar_interval = '1d' THEN 1 "
        "ELSE CASE WHEN asset_class IN ('fx', 'crypto') THEN 86400 ELSE 23400 END "
        "/ extract(epoch FROM bar_length(bar_interval))::double precision END END",
    ),
    "step_start": Function(
        "ts timestamptz, step interval, bar_interval text",
        "timestamptz",
        "Start of the step a bar lies in, counted from a Monday; that of the bar where steps are no longer",
        "CASE WHEN step > bar_length(bar_interval) "
        "THEN date_bin(step, ts, '1970-01-05 00:00:00+00'::timestamptz) ELSE ts END",
        readable=False,
    ),
}

FUNCTIONS = {
    "bars_in_range": Function(
        f"{KEY}, lead_bars integer",
        f"TABLE (ts timestamptz, {PRICES}, volume double precision)",
        "Bars of a series from start_ts until before end_ts, and up to lead_bars before them",
        f"{_SERIES}{_either('bars_in_range')}\nEND",
        "plpgsql",
        readable=False,
    ),
    "price_candle": Function(
        f"{KEY}, {STEP}",
        f"TABLE (ts timestamptz, {PRICES}, volume double precision)",
        "Bars of a series, put together to longer steps; volume is null where no bar of a step has one",
        _sql("price_candle"),
    ),
    "price_return": Function(
        f"{KEY}, {STEP}",
        "TABLE (ts timestamptz, close double precision, simple_return double precision, log_return double precision, "
        "cumulative_return double precision)",
        "Returns from close to close, the first against the bar before start_ts; null where prices are not positive",
        _sql("price_return"),
    ),
    "rolling_volatility": Function(
        f"{KEY}, window_bars integer DEFAULT 20, periods_per_year double precision DEFAULT NULL, {STEP}",
        "TABLE (ts timestamptz, volatility double precision, periods double precision)",
        "Sample deviation of the last window_bars log returns times the root of periods_per_year (by default what the "
        "function of this name says); null until there are so many; of a step the last",
        _sql("rolling_volatility"),
        "plpgsql",
    ),
    "drawdown": Function(
        f"{KEY}, {STEP}",
        "TABLE (ts timestamptz, peak double precision, drawdown double precision)",
        "Close against the highest close since start_ts; of a step the deepest",
        _sql("drawdown"),
    ),
    "price_change": Function(
        "bar_interval text, start_ts timestamptz, end_ts timestamptz",
        "TABLE (series_id integer, instrument_id integer, symbol text, exchange text, asset_class text, currency text, "
        "source text, basis text, from_ts timestamptz, from_close double precision, to_ts timestamptz, "
        "to_close double precision, change double precision, simple_return double precision)",
        "Movers: of each series with bars in the range, its last close against the one before start_ts, or else "
        "its first",
        f"BEGIN\n{_either('price_change')}\nEND",
        "plpgsql",
    ),
    "storage": Function(
        "",
        "TABLE (table_name text, kind text, bars bigint, heap_bytes bigint, index_bytes bigint, toast_bytes bigint, "
        "total_bytes bigint, bytes_per_bar double precision, chunks bigint, compressed_chunks bigint, "
        "uncompressed_bytes bigint, compressed_bytes bigint, compression_ratio double precision)",
        "What v_storage shows",
        _sql("storage"),
        "plpgsql",
    ),
}

VIEWS = {
    "v_latest": ("The last bar of each series, and the close before it", _sql("v_latest")),
    "v_freshness": (
        (
            "How old each series is, and whether its next bar is late. Weekends are known, of all but crypto; holidays "
            "and sessions are not: bars up to a day long may come a weekday later, and stale allows 4 days more "
            "(crypto: 15 minutes), or 3 bars"
        ),
        _sql("v_freshness"),
    ),
    "v_rejection_reason": (
        "Rejections of each run by reason; kept are the first 10,000 of a run",
        _sql("v_rejection_reason"),
    ),
    "v_growth": (
        "What runs brought, by the UTC day they ended on; deleted bars are not taken off",
        _sql("v_growth"),
    ),
    "v_storage": (
        "Size of each table with its indexes and chunks; of bar tables, bytes a bar takes",
        _sql("v_storage"),
    ),
}

# What earlier views have as well is said there.
COLUMNS = {
    "previous_ts": "Start of the bar before",
    "previous_close": "Close of the bar before",
    "change": "Close less the earlier close",
    "simple_return": "Change divided by the earlier close; null where that is not positive",
    "log_return": "Natural logarithm of close divided by the earlier close",
    "cumulative_return": "Close divided by the first close, less 1",
    "volatility": "Annualised; 0.2 is 20 % a year",
    "periods": "Bars in a year it was annualised by",
    "peak": "Highest close so far",
    "drawdown": "Close divided by the peak, less 1: 0 to -1",
    "from_ts": "Start of the bar compared with",
    "from_close": "Close compared with",
    "to_ts": "Start of the last bar in the range",
    "to_close": "Last close in the range",
    "age": "Since the end of its last bar",
    "due_at": "When its next bar should be over",
    "overdue": "How long that has been; 0 while it is not",
    "stale": "Whether that is longer than a holiday explains; never of inactive instruments",
    "rows": "Rows refused",
    "day": "Start of the day, UTC",
    "runs": "Runs that ended",
    "bars": "Bars stored; of v_growth: inserted until then",
    "table_name": "Table",
    "kind": "table or hypertable",
    "heap_bytes": "Rows; of compressed chunks as well",
    "index_bytes": "Indexes and keys",
    "toast_bytes": "Values kept apart because of their size, such as compressed columns",
    "total_bytes": "All of these",
    "bytes_per_bar": "Bytes of heap, indexes and toast for each bar stored",
    "chunks": "Chunks or partitions; 0 of a plain table",
    "compressed_chunks": "Chunks in the columnstore",
    "uncompressed_bytes": "What compressed chunks took before; null where none is",
    "compressed_bytes": "What they take now",
    "compression_ratio": "The one divided by the other",
}

_PINNED = "STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp"


def _for_reader(statement: str) -> None:
    """Run only where the role exists."""
    op.execute(
        "DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'market_data_reader') THEN "
        f"{statement}; END IF; END $$"
    )


def _run(statement: str) -> None:
    """Run it as it stands: SQLAlchemy would take a colon for a parameter."""
    op.get_bind().exec_driver_sql(statement)


def upgrade() -> None:
    """Create functions, then the views that use them."""
    for name, made in CALCULATIONS.items():
        _run(
            f"CREATE FUNCTION {name}({made.arguments}) RETURNS {made.returns} LANGUAGE sql IMMUTABLE PARALLEL SAFE "
            f"RETURN {made.body}"
        )
    for name, made in FUNCTIONS.items():
        _run(
            f"CREATE FUNCTION {name}({made.arguments}) RETURNS {made.returns} LANGUAGE {made.language} {_PINNED} "
            f"AS $body$\n{made.body}\n$body$"
        )
    for name, made in (CALCULATIONS | FUNCTIONS).items():
        op.execute(f"COMMENT ON FUNCTION {name} IS '{made.comment}'")
        op.execute(f"REVOKE EXECUTE ON FUNCTION {name} FROM PUBLIC")
        if made.readable:
            _for_reader(f"GRANT EXECUTE ON FUNCTION {name} TO market_data_reader")
    for view, (comment, query) in VIEWS.items():
        _run(f"CREATE VIEW {view} AS {query}")
        op.execute(f"COMMENT ON VIEW {view} IS '{comment}'")
        _comment(view)
    _for_reader(f"GRANT SELECT ON {', '.join(VIEWS)} TO market_data_reader")


def _comment(view: str) -> None:
    """Say what its columns are; one meaning in every view they stand in."""
    found = op.get_bind().execute(
        sa.text(
            """
            SELECT a.attname, (SELECT min(col_description(o.attrelid, o.attnum)) FROM pg_attribute o
                WHERE o.attrelid IN ('v_instrument'::regclass, 'v_series'::regclass, 'v_price'::regclass,
                                     'v_run'::regclass, 'v_rejection'::regclass) AND o.attname = a.attname)
            FROM pg_attribute a WHERE a.attrelid = to_regclass(:view) AND a.attnum > 0
            """
        ),
        {"view": view},
    )
    for column, told in found.all():
        op.execute(f"COMMENT ON COLUMN {view}.{column} IS '{COLUMNS.get(column, told)}'")


def downgrade() -> None:
    """Drop what upgrade made."""
    for view in reversed(VIEWS):
        op.execute(f"DROP VIEW {view}")
    for name in reversed(CALCULATIONS | FUNCTIONS):
        op.execute(f"DROP FUNCTION {name}")
