"""How far long work is: a bar on a terminal, a plain line now and then elsewhere."""

import sys
import time
from typing import Self

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from market_data.cli.output import notes

EVERY_SECONDS = 5.0
"""Between two plain lines about the same thing."""


class Shown:
    """A context manager; `show` may be called as often as one likes."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[detail]}"),
            console=notes,
            transient=True,
            disable=not self._live,
        )
        self._task = self._bar.add_task("", total=None, detail="")
        self._last = ""
        self._since = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, what: str, detail: str, done: int = 0, total: int | None = None) -> None:
        """Show what is being worked on, and how far; a new `what` gets its line at once."""
        if self._live:
            self._bar.update(self._task, description=what, completed=done, total=total, detail=detail)
            return
        now = time.monotonic()
        if what == self._last and now - self._since < EVERY_SECONDS:
            return
        place = f" ({done + 1} of {total})" if total else ""
        notes.print(f"{what}{place}: {detail}", markup=False)
        self._last, self._since = what, now
