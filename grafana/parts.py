"""What all dashboards are made of, so that they look alike: panels, variables, links, colours."""

from collections.abc import Sequence
from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, candlestick, stat, table, timeseries
from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as models

from grafana.query import SOURCE, Query

TAG = "market-data"
UP, DOWN, CALM, WARNING = "green", "red", "blue", "orange"

# Row limits: no panel asks for more, whatever is stored.
POINTS = 1000
ROWS = 1000

# Start and end as the data source writes them, and the step that fits the panel's width.
RANGE = "$__timeFrom(), $__timeTo()"
STEP = "make_interval(secs => $__interval_ms / 1000.0)"

AnyPanel = Builder[models.Panel]
P = TypeVar("P", stat.Panel, table.Panel, timeseries.Panel, bargauge.Panel, candlestick.Panel)
Thresholds = Sequence[tuple[float | None, str]]


def placed(panel: P, title: str, about: str, query: Query, size: tuple[int, int]) -> P:
    """Give a panel its title, description, query, width (of 24) and height."""
    width, height = size
    return (
        panel.title(title)
        .description(about)
        .datasource(SOURCE)
        .with_target(query)
        .span(width)
        .height(height)
        .max_data_points(POINTS)
    )


def thresholds(steps: Thresholds) -> builders.ThresholdsConfig:
    """Colours from values on; the first begins at None, below all."""
    config = builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE)
    return config.steps([models.Threshold(value=value, color=color) for value, color in steps])


def by_threshold() -> builders.FieldColor:
    """Colour by thresholds."""
    return builders.FieldColor().mode(models.FieldColorModeId.THRESHOLDS)


def fixed(color: str) -> builders.FieldColor:
    """One colour."""
    return builders.FieldColor().mode(models.FieldColorModeId.FIXED).fixed_color(color)


SIGN: Thresholds = ((None, DOWN), (0, UP))


def number(
    title: str,
    about: str,
    query: Query,
    unit: str,
    width: int,
    steps: Thresholds = ((None, CALM),),
    decimals: float | None = None,
) -> stat.Panel:
    """One figure, coloured by its thresholds."""
    panel = (
        placed(stat.Panel(), title, about, query, (width, 4))
        .unit(unit)
        .thresholds(thresholds(steps))
        .color_scheme(by_threshold())
        .color_mode(common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.NONE)
        .no_value("-")
    )
    return panel if decimals is None else panel.decimals(decimals)


def lines(title: str, about: str, query: Query, unit: str, size: tuple[int, int]) -> timeseries.Panel:
    """Lines over time."""
    return (
        placed(timeseries.Panel(), title, about, query, size)
        .unit(unit)
        .line_width(1)
        .show_points(common.VisibilityMode.NEVER)
        .tooltip(
            common_builders.VizTooltipOptions()
            .mode(common.TooltipDisplayMode.MULTI)
            .sort(common.SortOrder.DESCENDING)
        )
    )


def bars(title: str, about: str, query: Query, unit: str, size: tuple[int, int]) -> timeseries.Panel:
    """Bars over time, one above the other where there are several."""
    return (
        lines(title, about, query, unit, size)
        .draw_style(common.GraphDrawStyle.BARS)
        .fill_opacity(80)
        .line_width(0)
        .stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    )


def rows(title: str, about: str, query: Query, size: tuple[int, int]) -> table.Panel:
    """Rows with filters in the head of each column."""
    panel = placed(table.Panel(), title, about, query, size)
    return panel.filterable(True).cell_height(common.TableCellHeight.SM)


def column(panel: table.Panel, name: str, **properties: object) -> table.Panel:
    """Say how a column of a table looks, by the names that Grafana has for properties (`__` is a dot)."""
    values = [
        models.DynamicConfigValue(id_val=key.replace("__", "."), value=value)
        for key, value in properties.items()
    ]
    return panel.override_by_name(name, values)


def colored_text(panel: table.Panel, name: str, unit: str, steps: Thresholds, **more: object) -> table.Panel:
    """Colour the text of a column by thresholds."""
    return column(
        panel,
        name,
        unit=unit,
        custom__cellOptions={"type": "color-text"},
        thresholds=thresholds(steps).build(),
        color={"mode": "thresholds"},
        **more,
    )


def variable(name: str, label: str, sql: str, about: str) -> builders.QueryVariable:
    """Offer a choice read from the database when the dashboard opens."""
    text = " ".join(sql.split())
    return (
        builders.QueryVariable(name)
        .label(label)
        .description(about)
        .datasource(SOURCE)
        .query(text)
        .definition(text)
        .refresh(models.VariableRefresh.ON_DASHBOARD_LOAD)
        .sort(models.VariableSort.DISABLED)
    )


def several(name: str, label: str, sql: str, about: str) -> builders.QueryVariable:
    """Offer a choice of any number, or of all.

    In SQL it stands as `name IN (${name})`: without a format the data source writes quoted literals,
    and for all
    of them the column's own name, which every row fulfils. The formats `singlequote` (a backslash
    before a quote,
    which PostgreSQL does not know) and `sqlstring` (changes double quotes) are both wrong here.
    """
    return (
        variable(name, label, sql, about)
        .multi(True)
        .include_all(True)
        .all_value(name)
        .current(models.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def opens_instrument(symbol: str = "symbol") -> dict[str, object]:
    """Properties of a column whose cells lead to the instrument of their row, with the dashboard's times."""
    fields = {
        "instrument": "instrument_id",
        "interval": "interval",
        "source": "source",
        "basis": "basis",
    }
    chosen = "&".join(f"var-{name}=${{__data.fields.{field}}}" for name, field in fields.items())
    link = {
        "title": f"Open ${{__data.fields.{symbol}}}",
        "url": f"/d/{TAG}-instrument?{chosen}&${{__url_time_range}}",
    }
    return {"links": [link]}


def dashboard(name: str, title: str, about: str, since: str, refresh: str = "") -> builders.Dashboard:
    """Begin a dashboard, with links to the others; `name` becomes its stable uid."""
    others = (
        builders.DashboardLink("Market data")
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(True)
        .keep_time(True)
    )
    return (
        builders.Dashboard(title)
        .uid(f"{TAG}-{name}")
        .description(about)
        .tags([TAG])
        .timezone("utc")
        .time(since, "now")
        .refresh(refresh)
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .variables([])
        .link(others)
    )
