"""Coverage as a map: a row for each series and year, a character for each month or week."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from rich.text import Text

from market_data.cli.output import people
from market_data.core.vocabulary import CoverageState
from market_data.schemas.coverage import CoverageRead, StretchRead

_PARTLY, _NOTHING = "partly", "nothing is traded"
_SHAPES = {
    CoverageState.PRESENT: ("█", "green"),
    _PARTLY: ("▒", "yellow"),
    CoverageState.MISSING: ("○", "red"),
    CoverageState.FAILED: ("!", "bold red"),
    CoverageState.NO_TRADE: ("─", "blue"),
    CoverageState.NOT_YET: ("…", "cyan"),
    _NOTHING: (" ", ""),
}
"""Shapes differ as well as colours: not everybody sees colours, and pipes have none."""
_WANTING = {CoverageState.MISSING, CoverageState.FAILED}
_WEEKS = 52
_MONTHS = "JFMAMJJASOND"


def print_map(found: Sequence[CoverageRead], *, weeks: bool) -> None:
    """Print a map of each series, a legend, and how many bars there are of each kind."""
    console = people()
    for one in found:
        title = f"{one.exchange}:{one.symbol}  {one.interval}  {one.source}  {one.basis}"
        console.print(Text(f"{title}  (calendar {one.calendar})", style="bold"))
        heading = "1" + " " * (_WEEKS - 3) + "52" if weeks else _MONTHS
        console.print(Text(f"      {heading}"))
        for year, cells in rows_of(one.stretches, weeks=weeks):
            line = Text(f"{year}  ")
            for cell in cells:
                line.append(*_SHAPES[cell])
            console.print(line)
        counts = one.counts.model_dump()
        told = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count)
        console.print(Text(f"      {told or 'nothing is known'}\n"))
    legend = (
        f"{shape} {str(name).replace('_', ' ')}" for name, (shape, _) in _SHAPES.items() if shape != " "
    )
    console.print(Text("   ".join(legend)))


def rows_of(stretches: Sequence[StretchRead], *, weeks: bool) -> Iterator[tuple[int, list[str]]]:
    """Yield each year of which something is known, and what is known of its months or weeks."""
    if not stretches:
        return
    last = max(one.end for one in stretches) - timedelta(microseconds=1)
    for year in range(min(one.start for one in stretches).year, last.year + 1):
        edges = list(_weeks(year) if weeks else _months(year))
        cells = []
        within = [one for one in stretches if one.start < edges[-1] and one.end > edges[0]]
        for start, end in pairwise(edges):
            cells.append(_cell({one.state for one in within if one.start < end and one.end > start}))
        yield year, cells


def _cell(states: Iterable[CoverageState]) -> str:
    """Return what a month with these states is: full only where nothing is wanting."""
    found = set(states)
    for only in CoverageState:
        if found == {only}:
            return only
    if not found:
        return _NOTHING
    wanting = found & _WANTING
    if wanting and CoverageState.PRESENT in found:
        return _PARTLY
    if wanting:
        return CoverageState.FAILED if CoverageState.FAILED in wanting else CoverageState.MISSING
    return CoverageState.PRESENT if CoverageState.PRESENT in found else CoverageState.NO_TRADE


def _months(year: int) -> Iterator[datetime]:
    for month in range(1, 13):
        yield datetime(year, month, 1, tzinfo=UTC)
    yield datetime(year + 1, 1, 1, tzinfo=UTC)


def _weeks(year: int) -> Iterator[datetime]:
    """Yield where weeks counted from 1 January begin; the last one takes the days that are left."""
    first = datetime(year, 1, 1, tzinfo=UTC)
    for week in range(_WEEKS):
        yield first + week * timedelta(days=7)
    yield datetime(year + 1, 1, 1, tzinfo=UTC)
