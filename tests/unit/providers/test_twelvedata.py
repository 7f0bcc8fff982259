"""Pages of Twelve Data, against a vendor that answers what is asked and others that do not."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta

import httpx2
import pytest

from market_data.core.exceptions import MalformedAnswer
from market_data.etl.clients import twelvedata
from tests.support.provider_contract import Subject, ask, rows

FIRST = datetime.fromisoformat("2024-01-02 09:30:00")
HISTORY = [f"{FIRST + timedelta(minutes=i)}" for i in range(23)]
WANTED = {"symbol": "AAPL", "interval": "1m"}


@pytest.fixture
def subject(monkeypatch) -> Subject:
    monkeypatch.setattr(twelvedata, "_LIMIT", 5)
    return Subject.load(twelvedata.TwelveDataClient)


def answer(stamps: list[str]) -> httpx2.Response:
    if not stamps:
        text = "No data is available on the specified dates. Try setting different start/end dates."
        return httpx2.Response(400, json={"code": 400, "message": text, "status": "error"})
    meta = {
        "symbol": "AAPL",
        "interval": "1min",
        "currency": "USD",
        "exchange_timezone": "America/New_York",
        "type": "Common Stock",
    }
    price = dict.fromkeys(("open", "high", "low", "close"), "1.5") | {"volume": "7"}
    values = [{"datetime": stamp, **price} for stamp in stamps]
    return httpx2.Response(200, content=json.dumps({"meta": meta, "values": values, "status": "ok"}))


def vendor(included: bool, asked: list[dict]) -> Callable[[httpx2.Request], httpx2.Response]:
    def respond(request: httpx2.Request) -> httpx2.Response:
        params = dict(request.url.params)
        asked.append(params)
        end = params.get("end_date", "9999")
        found = [stamp for stamp in HISTORY if stamp < end or (included and stamp == end)]
        return answer(found[::-1][: int(params["outputsize"])])

    return respond


@pytest.mark.parametrize("included", [True, False])
@pytest.mark.parametrize("length", [0, 1, 4, 5, 6, 9, 10, 23])
async def test_every_bar_comes_once_wherever_a_range_ends(subject, monkeypatch, included, length):
    monkeypatch.setitem(globals(), "HISTORY", HISTORY[:length])
    asked: list[dict] = []
    run = await ask(subject, WANTED, vendor(included, asked))
    assert [row[0] for row in rows(run.pages)] == [stamp.replace(" ", "T") for stamp in HISTORY[::-1]]
    assert (run.error is None) == (length > 0)
    assert len(asked) <= length // 4 + 1


async def test_asking_ends_with_the_page_that_reaches_the_start(subject):
    asked: list[dict] = []
    start = "2024-01-03T14:40:00+00:00"
    await ask(subject, WANTED | {"start": start, "end": "2024-01-03T15:00:00+00:00"}, vendor(True, asked))
    assert [one["end_date"] for one in asked] == ["2024-01-04 15:00:00"]


async def test_an_empty_range_costs_one_request_that_tells_the_symbol(subject):
    for start, end in (("2024-01-03", "2024-01-03"), ("2024-02-03", None)):
        span = {"start": f"{start}T00:00:00+00:00"} | ({"end": f"{end}T00:00:00+00:00"} if end else {})
        run = await ask(subject, WANTED | span, vendor(True, asked := []))
        assert (run.error, len(run.pages), len(asked)) == (None, 1, 1)
        assert run.pages[0].listing.symbol == "AAPL"


async def test_a_page_given_again_is_not_stored_again(subject):
    run = await ask(subject, WANTED, lambda _: answer(HISTORY[::-1][:5]))
    assert isinstance(run.error, MalformedAnswer)
    assert len(run.pages) == 1


async def test_a_page_of_the_last_bar_alone_is_the_end(subject):
    pages = iter([HISTORY[::-1][:5], [HISTORY[-5]] * 5])
    run = await ask(subject, WANTED, lambda _: answer(next(pages)))
    assert run.error is None
    assert len(run.pages) == 1


async def test_a_day_twice_is_left_to_the_rules_for_duplicates(subject):
    run = await ask(subject, WANTED, lambda _: answer([HISTORY[1], HISTORY[1], HISTORY[0]]))
    assert [row[0] for row in rows(run.pages)] == [f"2024-01-02T09:{minute}:00" for minute in (31, 31, 30)]
