"""Instrument: one series in every detail."""

from grafana_foundation_sdk.builders import candlestick, stat
from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models import candlestick as candlestick_models
from grafana_foundation_sdk.models import common, units
from grafana_foundation_sdk.models import dashboard as models

from grafana import parts
from grafana.query import Query

ID = "nullif('${instrument}', '')::integer"
SERIES = f"{ID}, '${{interval}}', '${{source}}', '${{basis}}', {parts.RANGE}"
OF_SERIES = f"""
    WHERE instrument_id = {ID} AND interval = '${{interval}}' AND source = '${{source}}'
          AND basis = '${{basis}}'
"""
BASES = {
    "raw": (
        "RAW PRICES, not adjusted: a split or dividend looks like a fall, in returns and volatility too",
        parts.WARNING,
    ),
    "split": ("Adjusted for splits, not for dividends", parts.CALM),
    "split_dividend": ("Adjusted for splits and dividends", parts.UP),
}


def instrument() -> builders.Dashboard:
    """Return the dashboard."""
    about = "Candles, volume, returns, volatility and drawdown of one series."
    made = parts.dashboard("instrument", "Instrument", about, "now-1y", "5m")
    for choice in _choices():
        made.with_variable(choice)
    made.with_variable(_window())
    made.with_panel(_basis())
    for figure in _figures():
        made.with_panel(figure)
    made.with_panel(_candles())
    for panel in (_returns(), _cumulative(), _volatility(), _drawdown()):
        made.with_panel(panel)
    return made


def _choices() -> list[builders.QueryVariable]:
    return [
        parts.variable(
            "instrument",
            "Instrument",
            f"""
            SELECT symbol || ' (' || exchange || coalesce(', ' || name, '') || ')' AS __text,
                   instrument_id::text AS __value
            FROM v_instrument WHERE instrument_id IN (SELECT instrument_id FROM v_series)
            ORDER BY symbol, exchange, active DESC, instrument_id LIMIT {10 * parts.ROWS}
            """,
            "Instruments that have bars",
        ),
        parts.variable(
            "interval",
            "Interval",
            f"""
            SELECT interval FROM v_series WHERE instrument_id = {ID} GROUP BY interval
            ORDER BY interval <> '1d', bar_length(interval) DESC
            """,
            "Intervals it has bars of. Steps grow with the time range, so that a panel draws some 1000 "
            "at most",
        ),
        parts.variable(
            "source",
            "Source",
            f"""
            SELECT source FROM v_series WHERE instrument_id = {ID} AND interval = '${{interval}}'
            GROUP BY source ORDER BY source
            """,
            "Where the bars came from",
        ),
        parts.variable(
            "basis",
            "Basis",
            f"""
            SELECT basis FROM v_series
            WHERE instrument_id = {ID} AND interval = '${{interval}}' AND source = '${{source}}' ORDER
            BY basis
            """,
            "raw as traded, or adjusted for splits, or for dividends too",
        ),
    ]


def _window() -> builders.CustomVariable:
    return (
        builders.CustomVariable("window")
        .label("Window")
        .description("Bars of rolling volatility")
        .values("5,10,20,60,120,250")
        .current(models.VariableOption(selected=True, text="20", value="20"))
    )


def _basis() -> parts.AnyPanel:
    query = Query(f"SELECT basis FROM v_series {OF_SERIES}", {"basis": "string"})
    about = "What the prices of this series are. Adjustment on read comes with a later version."
    told = {
        basis: models.ValueMappingResult(text=text, color=color, index=place)
        for place, (basis, (text, color)) in enumerate(BASES.items())
    }
    return (
        parts.placed(stat.Panel(), "", about, query, (24, 2))
        .mappings([models.ValueMap(options=told)])
        .color_mode(common.BigValueColorMode.BACKGROUND_SOLID)
        .graph_mode(common.BigValueGraphMode.NONE)
        .justify_mode(common.BigValueJustifyMode.CENTER)
        .text(common_builders.VizTextDisplayOptions().value_size(16))
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]).fields("/^basis$/"))
        .no_value("no such series")
    )


def _figures() -> list[parts.AnyPanel]:
    latest = f"FROM v_latest {OF_SERIES}"
    return [
        parts.number(
            "Last close",
            "Close of the last bar stored, whatever the time range.",
            Query(f"SELECT close {latest}", {"close": "number"}),
            "none",
            4,
        ),
        parts.number(
            "Last change",
            "Last close against the one before.",
            Query(f"SELECT simple_return {latest}", {"simple_return": "number"}),
            units.PercentUnit,
            4,
            parts.SIGN,
            2,
        ),
        parts.number(
            "Return in the time range",
            "Last close in the time range against the last one before it.",
            Query(
                f"SELECT cumulative_return FROM price_return({SERIES}) ORDER BY ts DESC LIMIT 1",
                {"cumulative_return": "number"},
            ),
            units.PercentUnit,
            4,
            parts.SIGN,
            2,
        ),
        parts.number(
            "Deepest drawdown",
            "Lowest close in the time range against the highest before it.",
            Query(f"SELECT min(drawdown) AS drawdown FROM drawdown({SERIES})", {"drawdown": "number"}),
            units.PercentUnit,
            4,
            ((None, parts.DOWN), (-0.2, parts.WARNING), (-0.05, parts.UP)),
            2,
        ),
        parts.number(
            "Volatility now",
            "Annualised, of the last bars of the time range, as many as the window.",
            Query(
                f"SELECT volatility FROM rolling_volatility({SERIES}, '${{window}}'::integer) ORDER BY "
                f"ts DESC LIMIT 1",
                {"volatility": "number"},
            ),
            units.PercentUnit,
            4,
            decimals=1,
        ),
        parts.number(
            "Last bar",
            "When the last bar stored began.",
            Query(f"SELECT extract(epoch FROM ts) * 1000 AS bar {latest}", {"bar": "number"}),
            units.DateTimeFromNow,
            4,
        ),
    ]


def _candles() -> parts.AnyPanel:
    prices = ("open", "high", "low", "close", "volume")
    query = Query(
        f"SELECT ts AS time, {', '.join(prices)} FROM price_candle({SERIES}, {parts.STEP}) ORDER BY ts",
        {"time": "time", **dict.fromkeys(prices, "number")},
    )
    about = "Bars, put together to longer steps where the time range has too many. Prices as published."
    fields = candlestick.CandlestickFieldMap()
    return (
        parts.placed(candlestick.Panel(), "Prices and volume", about, query, (24, 13))
        .mode(candlestick_models.VizDisplayMode.CANDLES_VOLUME)
        .candle_style(candlestick_models.CandleStyle.CANDLES)
        .color_strategy(candlestick_models.ColorStrategy.OPEN_CLOSE)
        .fields(fields.open("open").high("high").low("low").close("close").volume("volume"))
        .colors(candlestick.CandlestickColors().up(parts.UP).down(parts.DOWN).flat("gray"))
        .override_by_name("volume", [models.DynamicConfigValue(id_val="unit", value=units.Short)])
    )


def _returns() -> parts.AnyPanel:
    query = Query(
        f"SELECT ts AS time, simple_return FROM price_return({SERIES}, {parts.STEP}) ORDER BY ts",
        {"time": "time", "simple_return": "number"},
    )
    about = "Simple return from the close of one step to the next."
    return (
        parts.bars("Return of each step", about, query, units.PercentUnit, (12, 8))
        .thresholds(parts.thresholds(parts.SIGN))
        .color_scheme(parts.by_threshold())
        .gradient_mode(common.GraphGradientMode.SCHEME)
    )


def _cumulative() -> parts.AnyPanel:
    query = Query(
        f"SELECT ts AS time, cumulative_return FROM price_return({SERIES}, {parts.STEP}) ORDER BY ts",
        {"time": "time", "cumulative_return": "number"},
    )
    about = "Close against the last one before the time range."
    return (
        parts.lines("Return since the time range began", about, query, units.PercentUnit, (12, 8))
        .color_scheme(parts.fixed(parts.CALM))
        .fill_opacity(10)
    )


def _volatility() -> parts.AnyPanel:
    query = Query(
        f"""
        SELECT ts AS time, volatility
        FROM rolling_volatility({SERIES}, '${{window}}'::integer, NULL, {parts.STEP}) ORDER BY ts
        """,
        {"time": "time", "volatility": "number"},
    )
    about = (
        "Sample deviation of the log returns of the last ${window} bars, times the root of the bars in "
        "a year: 252 days "
        "(crypto 365), 52 weeks, 12 months; intraday as many as fit into days of 6.5 hours (fx, crypto: 24)."
    )
    return (
        parts.lines("Volatility of ${window} bars", about, query, units.PercentUnit, (12, 8))
        .color_scheme(parts.fixed("purple"))
        .min(0)
    )


def _drawdown() -> parts.AnyPanel:
    query = Query(
        f"SELECT ts AS time, drawdown FROM drawdown({SERIES}, {parts.STEP}) ORDER BY ts",
        {"time": "time", "drawdown": "number"},
    )
    about = "Close against the highest close since the time range began; of each step the deepest."
    return (
        parts.lines("Drawdown", about, query, units.PercentUnit, (12, 8))
        .color_scheme(parts.fixed(parts.DOWN))
        .fill_opacity(25)
        .max(0)
    )
