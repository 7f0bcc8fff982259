"""Draw one panel of a dashboard with matplotlib, as its description in JSON says: kind, unit, colours."""  # noqa: INP001 # for docs/pictures.py

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import matplotlib.dates as mdates
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter
from tests.support.grafana import Window

INK, QUIET, GRID, PAPER, GROUND = "#d8d9da", "#8e8e96", "#2c3235", "#181b1f", "#111217"
COLORS = {
    "green": "#73bf69",
    "red": "#f2495c",
    "blue": "#5794f2",
    "orange": "#ff9830",
    "purple": "#b877d9",
    "gray": "#8e8e96",
    "text": INK,
}
PALETTE = [
    "#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2",
    "#b877d9", "#96d98d", "#ffb357", "#c0d8ff", "#fa6400", "#ca95e5",
]  # fmt: skip
Rows = Sequence[Mapping[str, Any]]
Panel = Mapping[str, Any]


def shown(value: object, unit: str, decimals: int | None = None) -> str:
    """Write a value in a unit of Grafana, as far as our dashboards use them."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "stale" if value else "as expected"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d}" if value.hour == value.minute == 0 else f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, str):
        return value
    return _number(float(str(value)), unit, decimals)


def _number(value: float, unit: str, decimals: int | None) -> str:
    match unit:
        case "percentunit":
            return f"{value * 100:.{2 if decimals is None else decimals}f} %"
        case "bytes":
            return _scaled(value, 1024, ("B", "KiB", "MiB", "GiB"))
        case "short":
            return _scaled(value, 1000, ("", "K", "Mil", "Bil"))
        case "s" | "dtdurations":
            names = (("years", 31557600), ("days", 86400), ("hours", 3600), ("min", 60), ("s", 1))
            name, size = next(((name, size) for name, size in names if value >= size), ("s", 1))
            return "0" if value == 0 else f"{value / size:.3g} {name}"
        case "dateTimeFromNow":
            return f"{datetime.fromtimestamp(value / 1000, UTC):%Y-%m-%d}"
        case _:
            return f"{value:,.10g}"


def _scaled(value: float, base: int, names: Sequence[str]) -> str:
    power = 0
    while abs(value) >= base and power < len(names) - 1:
        value /= base
        power += 1
    return f"{value:.3g} {names[power]}".strip()


def draw(axes: Axes, panel: Panel, rows: Rows, window: Window) -> None:
    """Draw a panel's rows, over time from one end of the dashboard's range to the other."""
    axes.set_facecolor(PAPER)
    for spine in axes.spines.values():
        spine.set_color(GRID)
    axes.set_title(panel["title"].replace("${window}", "20"), loc="left", fontsize=9, color=INK, pad=5)
    kinds: dict[str, Callable[[Axes, Panel, Rows], None]] = {
        "stat": _stat,
        "timeseries": _series,
        "candlestick": _candles,
        "bargauge": _gauge,
        "table": _table,
    }
    kinds[panel["type"]](axes, panel, rows)
    if panel["type"] in {"timeseries", "candlestick"}:
        axes.set_xlim(window.start, window.end)
        axes.xaxis.get_offset_text().set_visible(False)


def _defaults(panel: Panel) -> tuple[Mapping[str, Any], str]:
    defaults = panel["fieldConfig"]["defaults"]
    return defaults, defaults.get("unit", "none")


def _threshold(steps: Sequence[Mapping[str, Any]], value: float) -> str:
    passed = [step["color"] for step in steps if step.get("value") is None or value >= step["value"]]
    return COLORS[passed[-1]]


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])


def _stat(axes: Axes, panel: Panel, rows: Rows) -> None:
    _bare(axes)
    defaults, unit = _defaults(panel)
    value = next(iter(rows[0].values())) if rows else None
    text, color, size = shown(value, unit, defaults.get("decimals")), INK, 19
    if defaults.get("mappings"):
        told = defaults["mappings"][0]["options"].get(value, {})
        text, size = told.get("text", text), 11
        axes.set_facecolor(COLORS[told.get("color", "gray")])
        color = GROUND
    elif value is not None:
        color = _threshold(defaults["thresholds"]["steps"], float(str(value)))
    axes.text(0.5, 0.47, text, transform=axes.transAxes, ha="center", va="center", fontsize=size, color=color)


def _time_axis(axes: Axes, unit: str) -> None:
    axes.tick_params(colors=QUIET, labelsize=7, length=0)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value, unit, 0)))
    locator = mdates.AutoDateLocator(maxticks=9)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))


def _moment(value: object) -> datetime:
    """Return a time, or what `$__timeGroup` makes of one: seconds."""
    return value if isinstance(value, datetime) else datetime.fromtimestamp(float(str(value)), UTC)


def _lines(rows: Rows) -> dict[str, tuple[list[datetime], list[float]]]:
    """Take rows apart into a line for each metric, or for each number column where there is no metric."""
    lines: dict[str, tuple[list[datetime], list[float]]] = {}
    for row in rows:
        numbers = {name: value for name, value in row.items() if name not in {"time", "metric"}}
        for name, value in numbers.items():
            times, values = lines.setdefault(row.get("metric", name), ([], []))
            times.append(_moment(row["time"]))
            values.append(float("nan") if value is None else float(value))
    return lines


def _series(axes: Axes, panel: Panel, rows: Rows) -> None:
    defaults, unit = _defaults(panel)
    custom, lines = defaults.get("custom", {}), _lines(rows)
    color = defaults.get("color", {})
    heights: dict[datetime, float] = {}
    every = sorted({time for times, _ in lines.values() for time in times})
    gaps = [(after - before).total_seconds() for before, after in pairwise(every)]
    width = min([*gaps, 86400]) / 86400
    for place, (name, (times, values)) in enumerate(lines.items()):
        tone = COLORS[color["fixedColor"]] if "fixedColor" in color else PALETTE[place % len(PALETTE)]
        if custom.get("drawStyle") == "bars":
            tones = [tone] * len(values)
            if color.get("mode") == "thresholds":
                tones = [_threshold(defaults["thresholds"]["steps"], value) for value in values]
            bottoms = [heights.get(time, 0.0) for time in times]
            axes.bar(times, values, width=0.8 * width, bottom=bottoms, color=tones, label=name)
            heights |= {
                time: heights.get(time, 0.0) + value for time, value in zip(times, values, strict=True)
            }
        elif custom.get("drawStyle") == "points":
            axes.plot(times, values, "o", color=tone, markersize=5, label=name)
        else:
            style = "steps-post" if custom.get("lineInterpolation") == "stepAfter" else "default"
            marker = "o" if len(times) < 3 else ""
            axes.plot(times, values, color=tone, linewidth=1.1, drawstyle=style, marker=marker, label=name)
            if opacity := custom.get("fillOpacity"):
                axes.fill_between(times, values, color=tone, alpha=opacity / 100, linewidth=0)
    _time_axis(axes, unit)
    if len(lines) > 1:
        legend = axes.legend(loc="upper left", fontsize=6, ncols=4, frameon=False, labelcolor=INK)
        legend.set_zorder(9)
    if not lines:
        axes.text(0.5, 0.5, "No data", transform=axes.transAxes, ha="center", color=QUIET, fontsize=9)


def _candles(axes: Axes, panel: Panel, rows: Rows) -> None:
    times = [row["time"] for row in rows]
    up = [row["close"] >= row["open"] for row in rows]
    tones = [COLORS["green" if one else "red"] for one in up]
    axes.vlines(
        times, [row["low"] for row in rows], [row["high"] for row in rows], color=tones, linewidth=0.7
    )
    bodies = [abs(row["close"] - row["open"]) or 0.01 for row in rows]
    axes.bar(times, bodies, 0.75, bottom=[min(row["open"], row["close"]) for row in rows], color=tones)
    low, high = min(row["low"] for row in rows), max(row["high"] for row in rows)
    axes.set_ylim(low - 0.35 * (high - low), high * 1.02)
    volume = axes.twinx()
    volumes = [row["volume"] or 0 for row in rows]
    volume.bar(times, volumes, 0.75, color=tones, alpha=0.45)
    volume.set_ylim(0, 5 * max([*volumes, 1]))
    volume.tick_params(colors=QUIET, labelsize=7, length=0)
    volume.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value, "short")))
    for spine in volume.spines.values():
        spine.set_color(GRID)
    _time_axis(axes, _defaults(panel)[1])


def _gauge(axes: Axes, panel: Panel, rows: Rows) -> None:
    defaults, unit = _defaults(panel)
    names, values = [row["name"] for row in rows], [row["simple_return"] for row in rows]
    tone = COLORS[defaults["color"]["fixedColor"]]
    axes.barh(names, [abs(value) for value in values], color=tone, alpha=0.85, height=0.62)
    axes.invert_yaxis()
    for place, value in enumerate(values):
        axes.text(abs(value), place, "  " + shown(value, unit, 1), va="center", fontsize=7, color=INK)
    axes.tick_params(colors=INK, labelsize=7, length=0)
    axes.set_xticks([])
    axes.set_xlim(0, 1.15 * max([abs(value) for value in values] or [1]))


def _table(axes: Axes, panel: Panel, rows: Rows) -> None:
    _bare(axes)
    overrides = {
        one["matcher"]["options"]: {entry["id"]: entry["value"] for entry in one["properties"]}
        for one in panel["fieldConfig"]["overrides"]
    }
    if not rows:
        axes.text(0.5, 0.5, "No data", transform=axes.transAxes, ha="center", color=QUIET, fontsize=9)
        return
    names = [name for name in rows[0] if not overrides.get(name, {}).get("custom.hidden")]
    fits = max(2, int(axes.get_window_extent().height / axes.figure.dpi * 72 / 12.5) - 1)
    cells, tones = [], []
    for row in rows[:fits]:
        looks = [(row[name], overrides.get(name, {})) for name in names]
        cells.append([shown(value, look.get("unit", "none"), look.get("decimals")) for value, look in looks])
        tones.append([_tone(value, look) for value, look in looks])
    widths = [
        max(len(name) + 1, *(len(line[place]) for line in cells)) + 2 for place, name in enumerate(names)
    ]
    left = 0.0
    for place, name in enumerate(names):
        for line, text in enumerate([name, *(line[place] for line in cells)]):
            tone = QUIET if line == 0 else tones[line - 1][place]
            x, y = 0.008 + 0.99 * left / sum(widths), 1 - (line + 0.75) / (fits + 1)
            axes.text(x, y, text[:46], transform=axes.transAxes, fontsize=7, color=tone, va="center")
        left += widths[place]


def _tone(value: object, look: Mapping[str, Any]) -> str:
    if "thresholds" in look and value is not None:
        return _threshold(look["thresholds"]["steps"], float(str(value)))
    if look.get("mappings"):
        key = str(value).lower() if isinstance(value, bool) else value
        return COLORS[look["mappings"][0]["options"].get(key, {}).get("color", "text")]
    return INK
