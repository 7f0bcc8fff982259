"""Jobs followed by Server-Sent Events."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated

from fastapi import Path, Request
from fastapi.sse import ServerSentEvent

from market_data.api.shapes import progress_read
from market_data.schemas.ingestion import RunRead
from market_data.schemas.job import JobEnd
from market_data.services.watching import Watcher

EVERY_SECONDS = 1.0
"""Between two events of progress."""


class JobEvents:
    """What happens to one job from now on: ends with the job, the server, or the client."""

    def __init__(self, watcher: Watcher, job_id: int, stopping: asyncio.Event) -> None:
        self._watcher = watcher
        self._job_id = job_id
        self._stopping = stopping

    @classmethod
    async def of(cls, request: Request, job_id: Annotated[int, Path(ge=1, le=2**63 - 1)]) -> "JobEvents":
        """Follow the job a request names.

        Raises:
            JobNotFound: it is not in the queue, and had no run.

        """
        watcher = Watcher(request.app.state.database)
        await watcher.require_known(job_id)
        return cls(watcher, job_id, request.app.state.stopping)

    async def __aiter__(self) -> AsyncIterator[ServerSentEvent]:
        """Yield `progress` again and again, and `end` when it is done or given up."""
        while (picture := await self._watcher.look(self._job_id)) is not None:
            yield ServerSentEvent(event="progress", data=progress_read(picture))
            if picture.given_up:
                break
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), EVERY_SECONDS)
            if self._stopping.is_set():
                return
        run = await self._watcher.outcome(self._job_id)
        told = None if run is None else RunRead.model_validate(run)
        yield ServerSentEvent(event="end", data=JobEnd(job_id=self._job_id, run=told))
