"""Results as a table on the terminal, JSON, and Markdown with bar charts."""

import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Result

RESULTS = Path(__file__).parent / "results"
_HEAD = ("measure", "ours", "compared with", "ratio", "goal", "reached")
_BAR = 22


def show(results: Sequence[Result]) -> None:
    """Print a table."""
    table = Table(*_HEAD)
    for result in results:
        table.add_row(*result.row())
    Console(width=160).print(table)


def _chart(title: str, results: Sequence[Result]) -> str:
    """Draw ratios as horizontal bars, with a line at 1."""
    rows = [(r.name, r.ratio) for r in results if r.ratio is not None]
    widest = max([ratio for _, ratio in rows] + [1.2])
    scale = 420 / widest
    height = 40 + _BAR * len(rows)
    size = f'width="760" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        f'<rect {size} fill="white"/><text x="8" y="18" font-weight="bold">{title}</text>',
    ]
    for number, (name, ratio) in enumerate(rows):
        y = 30 + _BAR * number
        parts.append(
            f'<text x="232" y="{y + 13}" text-anchor="end">{name}</text>'
            f'<rect x="240" y="{y}" width="{ratio * scale:.0f}" height="{_BAR - 6}" fill="#3572b0"/>'
            f'<text x="{246 + ratio * scale:.0f}" y="{y + 13}">{ratio:.2f}</text>'
        )
    line = 240 + scale
    parts.append(f'<line x1="{line:.0f}" x2="{line:.0f}" y1="26" y2="{height - 6}" stroke="#c33"/></svg>')
    return "\n".join(parts)


def _measured_before(results: Sequence[Result]) -> list[Result]:
    """Return the results of earlier runs in the groups that were not measured now."""
    file = RESULTS / "results.json"
    if not file.exists():
        return []
    now = {result.group for result in results}
    fields = Result.__dataclass_fields__
    before = (
        Result(**{name: value for name, value in one.items() if name in fields})
        for one in json.loads(file.read_text())["results"]
    )
    return [result for result in before if result.group not in now]


def write(results: Sequence[Result], size: int) -> Path:
    """Write JSON, Markdown and charts into `results/`, beside what other runs measured; return the path."""
    RESULTS.mkdir(exist_ok=True)
    results = [*_measured_before(results), *results]
    when = datetime.now(UTC).isoformat(timespec="minutes")
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    document = {"when": when, "machine": machine, "size": size, "results": [r.data() for r in results]}
    (RESULTS / "results.json").write_text(json.dumps(document, indent=2) + "\n")
    lines = [f"# Benchmark of {when}", "", f"{machine}; {size} bars stored. Medians, (least-most).", ""]
    for group in dict.fromkeys(result.group for result in results):
        members = [result for result in results if result.group == group]
        lines += [f"## {group}", "", f"| {' | '.join(_HEAD)} |", "|---" * len(_HEAD) + "|"]
        lines += [f"| {' | '.join(result.row())} |" for result in members]
        lines.append("")
        if any(result.ratio is not None for result in members):
            name = f"{group.lower().replace(' ', '-')}.svg"
            (RESULTS / name).write_text(_chart(f"{group}: ratio to what it is compared with", members) + "\n")
            lines += [f"![{group}]({name})", ""]
    report = RESULTS / "report.md"
    report.write_text("\n".join(lines))
    return report
