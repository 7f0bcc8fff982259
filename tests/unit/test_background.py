"""Work in the background goes on after failures, and ends where there is nothing to do."""

import asyncio

import pytest

from market_data.services import aggregates


class Changing(aggregates.BackgroundAggregates):
    """Sees another state of the minutes each time it looks."""

    looks = 0

    async def _changed(self) -> object:
        self.looks += 1
        return self.looks


@pytest.fixture
def refreshing(monkeypatch):
    """Answers of `refresh_aggregates`, one after another; an exception is raised."""
    answers: list[object] = []
    asked: list[object] = []

    async def refresh(database) -> bool:
        asked.append(database)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return bool(answer)

    monkeypatch.setattr(aggregates, "refresh_aggregates", refresh)
    monkeypatch.setattr(aggregates, "_EVERY_SECONDS", 0)
    return answers, asked


async def test_it_goes_on_after_a_failure_and_ends_where_there_are_no_aggregates(refreshing):
    answers, asked = refreshing
    answers += [True, OSError("gone"), True, False]
    background = Changing("the database")
    async with asyncio.timeout(10):
        await background._task
    assert asked == ["the database"] * 4
    await background.close()


async def test_nothing_is_refreshed_while_nothing_changes(refreshing, monkeypatch):
    answers, asked = refreshing
    answers += [True]
    looked = asyncio.Event()

    class Still(Changing):
        async def _changed(self) -> object:
            self.looks += 1
            if self.looks == 5:
                looked.set()
            return "the same"

    background = Still("the database")
    async with asyncio.timeout(10):
        await looked.wait()
    await background.close()
    assert len(asked) == 1
