"""Pictures of the queue: drawn over each other on a terminal, lines elsewhere."""

import asyncio
import json
import sys
from typing import Any, Self

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from market_data.api.shapes import progress_read
from market_data.cli.output import people
from market_data.core import clock
from market_data.schemas.ingestion import RunRead
from market_data.schemas.job import JobEnd, JobRead
from market_data.services.watching import JobPicture, QueuePicture, Turn, Watcher

EVERY_SECONDS = 1.0
PLAIN_SECONDS = 5.0
"""Between two pictures: on a terminal, or of lines of JSON; and of plain lines."""
_COLUMNS = ("job", "what", "interval", "provider", "", "bars", "bars/s", "left", "provider's turn")


class Screen:
    """Where pictures are shown; a context manager."""

    def __init__(self, *, as_json: bool, once: bool) -> None:
        self.as_json = as_json
        self.once = once
        self._console = people()
        live = self._console.is_terminal and not once and not as_json
        self._live = Live(console=self._console, auto_refresh=False, transient=True) if live else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, picture: QueuePicture) -> None:
        """Show a picture, in place of the one before where that can be done."""
        if self.as_json:
            _json_line(_told(picture))
        elif self._live is not None:
            self._live.update(drawn(picture), refresh=True)
        elif self.once and self._console.is_terminal:
            self._console.print(drawn(picture))
        else:
            for line in lines(picture):
                self._console.print(line, markup=False, soft_wrap=True)

    def show_end(self, job_id: int, run: RunRead | None) -> None:
        """Tell programs that a job has left the queue; people are told by the command."""
        if self.as_json:
            _json_line(JobEnd(job_id=job_id, run=run).model_dump(mode="json"))

    async def pause(self) -> None:
        """Wait until the next picture is due."""
        await asyncio.sleep(EVERY_SECONDS if self._live is not None or self.as_json else PLAIN_SECONDS)


async def watch_all(watcher: Watcher, screen: Screen) -> None:
    """Show the queue again and again, or once."""
    while True:
        screen.show(await watcher.look_at_all())
        if screen.once:
            return
        await screen.pause()


async def watch_one(watcher: Watcher, screen: Screen, job_id: int) -> RunRead | None:
    """Show a job until it is done or given up, or once; return the run that records what came of it.

    Raises:
        JobNotFound: it is not in the queue, and had no run.

    """
    await watcher.require_known(job_id)
    while (picture := await watcher.look(job_id)) is not None:
        screen.show(QueuePicture([picture], {}))
        if screen.once:
            return None
        if picture.given_up:
            break
        await screen.pause()
    run = await watcher.outcome(job_id)
    told = None if run is None else RunRead.model_validate(run)
    screen.show_end(job_id, told)
    return told


def drawn(picture: QueuePicture) -> Table:
    """Draw a picture for a terminal."""
    table = Table(*_COLUMNS, box=None, pad_edge=False, header_style="bold", caption_justify="left")
    for one in picture.jobs:
        bar = ProgressBar(total=one.expected, completed=one.done, width=20, pulse=one.expected is None)
        job_id, what, interval, provider, *rest = _cells(one)
        table.add_row(job_id, what, interval, provider, bar, *rest)
    table.caption = depth(picture)
    return table


def lines(picture: QueuePicture) -> list[str]:
    """Return a picture as plain lines: one for each job, then the queue."""
    found = []
    for one in picture.jobs:
        job_id, what, interval, provider, bars, rate, left, turn = _cells(one)
        found.append(
            f"job {job_id}: {what} {interval} {provider}: {bars}, {rate} bars/s, left {left}, {turn}"
        )
    return [*found, told] if (told := depth(picture)) else found


def depth(picture: QueuePicture) -> str:
    """Say how many jobs there are of each kind, provider and status."""
    if not picture.depth:
        return "" if picture.jobs else "the queue is empty"
    parts = (
        f"{count} {status} ({' '.join(filter(None, (kind, provider)))})"
        for (kind, provider, status), count in sorted(picture.depth.items(), key=str)
    )
    return "queue: " + ", ".join(parts)


def _cells(one: JobPicture) -> tuple[str, ...]:
    job, run = one.job.job, one.job.run
    asked: dict[str, Any] = run.parameters if run is not None else {}
    symbols = asked.get("symbols", [])
    what = " ".join(symbols[:3]) + (f" and {len(symbols) - 3} more" if len(symbols) > 3 else "")
    unknown = " ".join(f"{name.removesuffix('_id')} {value}" for name, value in job.parameters.items())
    expected = "?" if one.expected is None else f"{one.expected}"
    left = "-" if one.eta_seconds is None else _duration(one.eta_seconds)
    return (
        str(job.id),
        what or unknown or str(job.kind),
        str(asked.get("interval", "-")),
        job.provider or "-",
        f"{one.done}/{expected}",
        f"{one.rate:.0f}",
        left,
        _turn(one.budget),
    )


def _turn(budget: Turn | None) -> str:
    """Say when the provider may be asked next."""
    now = clock.now()
    if budget is None:
        return "free"
    if budget.blocked_until is not None and budget.blocked_until > now:
        return f"blocked until {budget.blocked_until:%H:%M:%SZ}"
    waits = (budget.next_at - now).total_seconds()
    return f"in {waits:.1f} s" if waits > 0 else "free"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def _told(picture: QueuePicture) -> dict[str, Any]:
    jobs = [
        JobRead.model_validate(one.job.fields).model_dump(mode="json")
        | {"progress": progress_read(one).model_dump(mode="json")}
        for one in picture.jobs
    ]
    queue = [
        {"kind": kind, "provider": provider, "status": status, "count": count}
        for (kind, provider, status), count in picture.depth.items()
    ]
    return {"jobs": jobs, "queue": queue}


def _json_line(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()
