"""Measurements: ours against a limit, in turns, so that both meet the same machine."""

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field


@dataclass(slots=True)
class Result:
    """One measure: seconds (or requests per second) of ours and of what it is compared with."""

    name: str
    group: str
    ours: list[float]
    limit: list[float] = field(default_factory=list)
    limit_name: str = ""
    unit: str = "s"
    goal: float | None = None
    """The ratio to reach: at most, or with `more_is_better` at least."""
    more_is_better: bool = False
    extra: dict[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """Ours over the limit, medians."""
        return statistics.median(self.ours) / statistics.median(self.limit) if self.limit else None

    @property
    def reached(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        value = self.ratio if self.limit else statistics.median(self.ours)
        if self.goal is None or value is None:
            return None
        return value >= self.goal if self.more_is_better else value <= self.goal

    def row(self) -> list[str]:
        """Return name, ours, limit, ratio, goal, verdict for people."""
        ratio = f"{self.ratio:.2f}" if self.ratio is not None else "-"
        goal = "-" if self.goal is None else f"{'>=' if self.more_is_better else '<='} {self.goal:g}"
        verdict = {None: "", True: "yes", False: "NO"}[self.reached]
        return [self.name, self._shown(self.ours), self._shown(self.limit), ratio, goal, verdict]

    def _shown(self, values: list[float]) -> str:
        if not values:
            return "-"
        middle, least, most = statistics.median(values), min(values), max(values)
        if self.unit == "s":
            return f"{middle * 1e3:.1f} ms ({least * 1e3:.1f}-{most * 1e3:.1f})"
        return f"{middle:.0f} {self.unit} ({least:.0f}-{most:.0f})"

    def data(self) -> dict[str, object]:
        """Return everything for the JSON file."""
        return asdict(self) | {"ratio": self.ratio, "reached": self.reached}


def in_turns(
    ours: Callable[[], float], limit: Callable[[], float], times: int
) -> tuple[list[float], list[float]]:
    """Measure both alternately, after one round that does not count."""
    found: tuple[list[float], list[float]] = ([], [])
    for round_ in range(times + 1):
        second, first = limit(), ours()
        if round_:
            found[0].append(first)
            found[1].append(second)
    return found
