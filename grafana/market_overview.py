"""Market overview: what the market did, for the instruments chosen."""

from grafana_foundation_sdk.builders import bargauge
from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models import common, units

from grafana import parts
from grafana.query import Query

CHOSEN = (
    "asset_class IN (${asset_class}) AND exchange IN (${exchange}) "
    "AND source IN (${source}) AND symbol IN (${symbol})"
)
NAME = "exchange || ':' || symbol || ' ' || source || CASE basis WHEN 'raw' THEN '' ELSE ' ' || basis END"
LINES = 12
MOVERS = 10


def market_overview() -> builders.Dashboard:
    """Return the dashboard."""
    about = "Last prices, movers, performance and volume of the chosen instruments; sources are never mixed."
    made = parts.dashboard("overview", "Market overview", about, "now-1y", "5m")
    for choice in _choices():
        made.with_variable(choice)
    for figure in _figures():
        made.with_panel(figure)
    made.with_panel(_performance())
    made.with_panel(_movers("Gainers", "DESC", parts.UP))
    made.with_panel(_movers("Losers", "ASC", parts.DOWN))
    made.with_panel(_last_prices())
    return made.with_panel(_volume())


def _choices() -> list[builders.QueryVariable]:
    return [
        parts.several(
            "asset_class",
            "Asset class",
            "SELECT DISTINCT asset_class FROM v_instrument ORDER BY asset_class",
            "equity, etf, index, fx, crypto, future, fund, rate",
        ),
        parts.several(
            "exchange",
            "Exchange",
            """
            SELECT DISTINCT exchange FROM v_instrument WHERE asset_class IN (${asset_class})
            ORDER BY exchange
            """,
            "MIC or venue code; FX for currency pairs",
        ),
        parts.variable(
            "interval",
            "Interval",
            "SELECT interval FROM v_series GROUP BY interval ORDER BY interval <> '1d', bar_length(interval)",
            "Series of this interval are shown",
        ),
        parts.several(
            "source",
            "Source",
            "SELECT DISTINCT source FROM v_series WHERE interval = '${interval}' ORDER BY source",
            "Each source of an instrument is a series of its own",
        ),
        parts.several(
            "symbol",
            "Symbol",
            f"""
            SELECT DISTINCT symbol FROM v_series
            WHERE asset_class IN (${{asset_class}}) AND exchange IN (${{exchange}})
                  AND source IN (${{source}}) AND interval = '${{interval}}'
            ORDER BY symbol LIMIT {5 * parts.ROWS}
            """,
            "Symbols with bars of the interval",
        ),
    ]


def _figures() -> list[parts.AnyPanel]:
    series = f"FROM v_series WHERE {CHOSEN} AND interval = '${{interval}}'"
    return [
        parts.number(
            "Instruments",
            "Chosen instruments that have bars of the interval.",
            Query(f"SELECT count(DISTINCT instrument_id) AS instruments {series}", {"instruments": "number"}),
            units.Short,
            6,
        ),
        parts.number(
            "Bars",
            "Bars stored of the chosen series, at all times.",
            Query(
                f"SELECT coalesce(sum(bar_count), 0)::bigint AS bars {series}",
                {"bars": "number"},
            ),
            units.Short,
            6,
        ),
        parts.number(
            "Up in the time range",
            "Share of the chosen series that closed above their close before the time range.",
            Query(
                f"""
                SELECT avg((simple_return > 0)::integer)::double precision AS up
                FROM price_change('${{interval}}', {parts.RANGE}) WHERE {CHOSEN}
                """,
                {"up": "number"},
            ),
            units.PercentUnit,
            6,
            ((None, parts.DOWN), (0.5, parts.UP)),
        ),
        parts.number(
            "Newest bar",
            "When the newest bar of the chosen series began.",
            Query(f"SELECT extract(epoch FROM max(last_ts)) * 1000 AS newest {series}", {"newest": "number"}),
            units.DateTimeFromNow,
            6,
        ),
    ]


def _performance() -> parts.AnyPanel:
    query = Query(
        f"""
        SELECT r.ts AS time, m.metric, r.cumulative_return AS performance
        FROM (SELECT instrument_id, source, basis, {NAME} AS metric
              FROM price_change('${{interval}}', {parts.RANGE}) WHERE {CHOSEN}
              ORDER BY abs(simple_return) DESC NULLS LAST, series_id LIMIT {LINES}) m
        CROSS JOIN LATERAL price_return(m.instrument_id, '${{interval}}', m.source, m.basis,
        {parts.RANGE}, {parts.STEP}) r
        ORDER BY r.ts, m.metric
        """,
        {"time": "time", "metric": "string", "performance": "number"},
    )
    about = (
        f"Close against the close before the time range, of the {LINES} chosen series that moved most. "
        f"Series of "
        "basis raw are not adjusted: a split looks like a fall."
    )
    return parts.lines("Performance", about, query, units.PercentUnit, (24, 9)).axis_centered_zero(False)


def _movers(title: str, order: str, color: str) -> parts.AnyPanel:
    sign = ">" if order == "DESC" else "<"
    query = Query(
        f"""
        SELECT {NAME} AS name, simple_return FROM price_change('${{interval}}', {parts.RANGE})
        WHERE {CHOSEN} AND simple_return {sign} 0 ORDER BY simple_return {order}, series_id LIMIT {MOVERS}
        """,
        {"name": "string", "simple_return": "number"},
    )
    about = "Last close in the time range against the last one before it; basis raw knows no splits."
    return (
        parts.placed(bargauge.Panel(), title, about, query, (12, 9))
        .unit(units.PercentUnit)
        .decimals(1)
        .orientation(common.VizOrientation.HORIZONTAL)
        .display_mode(common.BarGaugeDisplayMode.BASIC)
        .color_scheme(parts.fixed(color))
        .reduce_options(common_builders.ReduceDataOptions().values(True).limit(MOVERS).calcs(["last"]))
    )


def _last_prices() -> parts.AnyPanel:
    query = Query(
        f"""
        SELECT symbol, exchange, asset_class, currency, close, change, simple_return, volume, ts AS
        bar, source, basis,
               interval, instrument_id
        FROM v_latest WHERE {CHOSEN} AND interval = '${{interval}}' ORDER BY symbol, exchange, source, basis
        LIMIT {parts.ROWS}
        """,
        {
            **dict.fromkeys(("symbol", "exchange", "asset_class", "currency"), "string"),
            **dict.fromkeys(("close", "change", "simple_return", "volume"), "number"),
            "bar": "time",
            **dict.fromkeys(("source", "basis", "interval"), "string"),
            "instrument_id": "number",
        },
    )
    about = (
        f"The last bar of each chosen series, whatever the time range, and the change from the bar "
        f"before. At most "
        f"{parts.ROWS} rows. A symbol opens its instrument."
    )
    table = parts.rows("Last prices", about, query, (24, 12))
    parts.column(table, "symbol", **parts.opens_instrument())
    parts.column(table, "volume", unit=units.Short)
    parts.column(table, "instrument_id", custom__hidden=True)
    parts.colored_text(table, "change", "none", parts.SIGN)
    return parts.colored_text(table, "simple_return", units.PercentUnit, parts.SIGN, decimals=2)


def _volume() -> parts.AnyPanel:
    query = Query(
        f"""
        SELECT c.ts AS time, m.metric, c.volume
        FROM (SELECT instrument_id, source, basis, {NAME} AS metric FROM v_latest
              WHERE {CHOSEN} AND interval = '${{interval}}' AND volume > 0 AND ts >= $__timeFrom()
              ORDER BY volume DESC, series_id LIMIT {LINES}) m
        CROSS JOIN LATERAL price_candle(m.instrument_id, '${{interval}}', m.source, m.basis,
        {parts.RANGE}, {parts.STEP}) c
        ORDER BY c.ts, m.metric
        """,
        {"time": "time", "metric": "string", "volume": "number"},
    )
    about = f"Quantity traded, of the {LINES} chosen series with most in their last bar. Rates have none."
    return parts.bars("Volume", about, query, units.Short, (24, 8))
