"""What Grafana makes of a query: variables are filled in by the browser, then macros by its server.

Taken from the documentation of variables and of the PostgreSQL data source:
https://grafana.com/docs/grafana/latest/dashboards/variables/variable-syntax/ and
https://grafana.com/docs/grafana/latest/datasources/postgres/query-editor/#macros
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_VARIABLE = re.compile(r"\$(\w+)|\$\{(\w+)(?::(\w+))?\}")
_MACRO = re.compile(r"\$(__\w+)\(([^)]*)\)")


@dataclass(frozen=True)
class Window:
    """The time range of a dashboard, and the interval that fits a panel's width, such as 1h."""

    start: datetime
    end: datetime
    interval: str = "1d"

    @property
    def seconds(self) -> int:
        return int(self.interval[:-1]) * SECONDS[self.interval[-1]]


@dataclass(frozen=True)
class Choice:
    """A variable and what was chosen: one text, several, or None for all."""

    value: str | Sequence[str] | None
    multi: bool = False
    all_value: str = ""

    def literal(self) -> str:
        """Without a format the data source quotes what may be several; of one it doubles the quotes only."""
        if self.value is None:
            return self.all_value  # as it stands
        if isinstance(self.value, str):
            doubled = self.value.replace("'", "''")
            return f"'{doubled}'" if self.multi else doubled
        return ",".join("'" + one.replace("'", "''") + "'" for one in self.value)


@dataclass(frozen=True)
class Dashboard:
    """Everything a query is expanded with."""

    window: Window
    choices: Mapping[str, Choice] = field(default_factory=dict)

    def expand(self, sql: str) -> str:
        return _MACRO.sub(self._macro, _VARIABLE.sub(self._variable, sql))

    def _variable(self, match: re.Match[str]) -> str:
        plain, braced, form = match.groups()
        name = plain or braced
        built_in = {"__interval": self.window.interval, "__interval_ms": str(self.window.seconds * 1000)}
        if name in built_in:
            return built_in[name]
        if name not in self.choices:
            return match[0]
        assert form is None, f"{match[0]}: no format but the data source's own is right for PostgreSQL"
        return self.choices[name].literal()

    def _macro(self, match: re.Match[str]) -> str:
        name, text = match.groups()
        arguments = [one.strip() for one in text.split(",")] if text else []
        start, end = _stamp(self.window.start), _stamp(self.window.end)
        known: dict[str, Callable[..., str]] = {
            "__timeFrom": lambda: start,
            "__timeTo": lambda: end,
            "__timeFilter": lambda column: f"{column} BETWEEN {start} AND {end}",
            "__timeGroup": _group,
            "__timeGroupAlias": lambda column, interval: f'{_group(column, interval)} AS "time"',
        }
        return known[name](*arguments)


def _group(column: str, interval: str) -> str:
    seconds = int(interval.strip("'")[:-1]) * SECONDS[interval.strip("'")[-1]]
    return f"floor(extract(epoch from {column})/{seconds})*{seconds}"


def _stamp(moment: datetime) -> str:
    return f"'{moment.astimezone(UTC).isoformat().replace('+00:00', 'Z')}'"
