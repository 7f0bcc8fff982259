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
    all_given = asyncio.Event()

    async def refresh(database) -> bool:
        asked.append(database)
        answer = answers.pop(0)
        if not answers:
            all_given.set()
        if isinstance(answer, Exception):
            raise answer
        return bool(answer)

    monkeypatch.setattr(aggregates, "refresh_aggregates", refresh)
    for pause in ("_EVERY_SECONDS", "_WITHOUT_SECONDS"):
        monkeypatch.setattr(aggregates, pause, 0)
    return answers, asked, all_given


async def test_it_goes_on_after_a_failure_and_where_there_are_no_aggregates_yet(refreshing):
    answers, asked, all_given = refreshing
    answers += [True, OSError("gone"), False, True]
    background = Changing("the database")
    async with asyncio.timeout(10):
        await all_given.wait()
    await background.close()
    assert asked[:4] == ["the database"] * 4


async def test_nothing_is_refreshed_while_nothing_changes(refreshing, monkeypatch):
    answers, asked, _ = refreshing
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
