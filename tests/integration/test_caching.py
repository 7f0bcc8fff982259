"""Validators: a copy is confirmed as long as it is right, and never a moment longer."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from market_data.core.interval import Basis, Interval
from market_data.repositories.market_price_writer import BarWriter, SeriesKey
from market_data.services.price_page import PricePage
from market_data.services.sealing import SealingService
from tests.support.api import PREFIX, add_instrument, assert_problem, days, row, store
from tests.support.bars import bars, fetch, upsert

PATH = f"{PREFIX}/prices"
HISTORY = {"start": "2020-01-01", "end": "2020-02-01"}
"""In the block from 2017-04-24 on; January 2024 lies in the next, from 2021-04-03 on."""
SETTLED, MOVING = "public, max-age=60", "no-cache"


@pytest.fixture
async def acme(client):
    number = await add_instrument(client)
    await store(client, [row(f"2020-01-{n:02d}", 20.0 + n) for n in range(1, 10)])
    await store(client, days(9))
    return number


async def ask(client, path=PATH, coding="identity", headers=None, **params):
    query = {"symbols": "ACME", "interval": "1d"} if path != f"{PATH}/../instruments/1/prices" else {}
    asked = {name: value for name, value in (query | params).items() if value is not None}
    return await client.get(path, params=asked, headers={"Accept-Encoding": coding} | (headers or {}))


async def tag(client, path=PATH, coding="identity", **params) -> str:
    answer = await ask(client, path, coding, **params)
    assert answer.status_code == 200, answer.text
    return answer.headers["etag"]


async def test_a_tag_is_strong_and_stays(client, acme):
    first = await tag(client)
    assert re.fullmatch(r'"[!#-~]+"', first)
    assert await tag(client) == first
    await SealingService(client_database(client)).seal()
    assert await tag(client) == first


def client_database(client):
    return client._transport.app.state.database


async def test_each_representation_has_its_tag(client, acme):
    await add_instrument(client, "OTHER")
    page = (await ask(client, limit=3)).json()["next_page_token"]
    formats = [{"format": name} for name in ("json", "columns", "ndjson", "csv", "arrow", "parquet")]
    others = [
        {"limit": 3},
        {"limit": 4},
        {"limit": 3, "page_token": page},
        {"sort": "desc"},
        {"symbols": "OTHER,ACME"},
        {"symbols": "ACME,OTHER"},
        {"symbols": "XNAS:ACME"},
        {"symbols": None, "instrument_ids": "1"},
        {"start": "2024-01-02"},
        {"end": "2024-01-02"},
        {"interval": "1w"},
        {"source": "ecb"},
        {"basis": "split"},
        {"path": f"{PATH}/latest"},
        *({"coding": coding, "format": name} for coding in ("gzip", "zstd") for name in ("json", "csv")),
    ]
    tags = [await tag(client, **one) for one in formats + others]
    assert len(set(tags)) == len(tags)


async def change_instrument(client, what: str) -> None:
    async with client_database(client).engine.begin() as connection:
        await connection.execute(text(f"UPDATE instrument SET {what}"))


@pytest.mark.parametrize("query", [{}, {"start": "2024-01-01", "end": "2024-02-01"}, {"format": "csv"}])
async def test_a_change_of_a_bar_changes_the_tag(client, acme, query):
    changes = [
        lambda: store(client, days(1, close=99.0)),
        lambda: store(client, days(10)),
        lambda: client.delete(
            f"{PREFIX}/instruments/{acme}/prices",
            params={"interval": "1d", "source": "api", "start": "2024-01-05"},
        ),
        lambda: store(client, days(1), source="ecb"),  # it is preferred
    ]
    seen = [await tag(client, **query)]
    for change in changes:
        await change()
        seen.append(await tag(client, **query))
    assert len(set(seen)) == 5


async def test_what_is_told_of_a_symbol_changes_the_tag(client, acme):
    seen = [await tag(client, symbols="ACME,LATER")]
    await add_instrument(client, "LATER")
    seen.append(await tag(client, symbols="ACME,LATER"))
    await store(client, days(1), symbol="LATER")
    seen.append(await tag(client, symbols="ACME,LATER"))
    for what in ("exchange = 'XNYS'", "currency = 'EUR'"):
        await change_instrument(client, what)
        seen.append(await tag(client, symbols="ACME,LATER"))
    await add_instrument(client, "LATER", exchange="XLON")  # now it is ambiguous
    seen.append(await tag(client, symbols="ACME,LATER"))
    assert len(set(seen)) == 6


@pytest.mark.parametrize("sealed", [False, True])
async def test_bars_of_other_blocks_leave_a_closed_range_its_tag(client, acme, database, sealed):
    if sealed:
        await SealingService(database).seal()
    first = await tag(client, **HISTORY)
    await store(client, [row("2024-02-01"), row("2017-04-23"), row("2021-04-03"), row("2025-06-01")])
    await client.delete(
        f"{PREFIX}/instruments/{acme}/prices",
        params={"interval": "1d", "source": "api", "start": "2022-01-01"},
    )
    await SealingService(database).seal()
    assert await tag(client, **HISTORY) == first
    await store(client, [row("2020-01-03", 1.0)])
    assert await tag(client, **HISTORY) != first


@pytest.fixture
def blind(monkeypatch):
    """From now on no bar can be read."""

    def make_blind():
        def refuse(*_, **__):
            raise AssertionError("bars are read")

        monkeypatch.setattr(PricePage, "blocks", refuse)

    return make_blind


@pytest.mark.parametrize("spoken", ["{}", "W/{}", '"x", {}', '"x",W/"y" ,  {} ', "*"])
@pytest.mark.parametrize("path", [PATH, f"{PATH}/latest"])
async def test_a_copy_is_confirmed_without_reading_bars(client, acme, blind, path, spoken):
    first = await ask(client, path, **(HISTORY if path == PATH else {}))
    blind()
    headers = {"If-None-Match": spoken.format(first.headers["etag"])}
    again = await ask(client, path, headers=headers, **(HISTORY if path == PATH else {}))
    assert (again.status_code, again.content) == (304, b"")
    for name in ("etag", "cache-control", "vary"):
        assert again.headers[name] == first.headers[name]
    assert {"content-type", "content-encoding", "content-length"}.isdisjoint(again.headers)
    assert again.headers["x-request-id"]


@pytest.mark.parametrize("spoken", ['"x"', "x", "", ",", '"x", *', "{}x", 'W/"x"'])
async def test_another_copy_is_not_confirmed(client, acme, spoken):
    first = await ask(client)
    again = await ask(client, headers={"If-None-Match": spoken.format(first.headers["etag"])})
    assert (again.status_code, again.content) == (200, first.content)


async def test_a_tag_of_another_coding_is_not_confirmed(client, acme):
    gzipped = await tag(client, coding="gzip")
    assert (await ask(client, headers={"If-None-Match": gzipped})).status_code == 200
    assert (await ask(client, coding="gzip", headers={"If-None-Match": gzipped})).status_code == 304


async def test_an_unknown_symbol_is_unknown_whatever_is_held(client, acme):
    for params in ({"symbols": "NOBODY"}, {"symbols": "ACME,NOBODY", "format": "csv"}):
        answer = await ask(client, headers={"If-None-Match": "*"}, **params)
        assert_problem(answer, 404, "symbols")
        assert "etag" not in answer.headers
    assert_problem(await ask(client, headers={"If-None-Match": "*"}, limit="0"), 422, "limit")


async def test_how_long_caches_may_believe(client, acme, database):
    async def said(**params) -> str:
        answer = await ask(client, **params)
        confirmed = await ask(client, headers={"If-None-Match": answer.headers["etag"]}, **params)
        assert confirmed.status_code == 304
        assert confirmed.headers["cache-control"] == answer.headers["cache-control"]
        return answer.headers["cache-control"]

    assert await said(**HISTORY) == MOVING  # not sealed yet
    await SealingService(database).seal()
    assert await said(**HISTORY) == SETTLED
    assert await said(**HISTORY, format="csv", sort="desc") == SETTLED
    assert await said(start="2024-01-01", end="2024-01-09") == SETTLED  # the last bar lies outside
    assert await said(start="2024-01-01", end="2024-01-10") == MOVING
    assert await said() == MOVING
    assert await said(start="2020-01-01") == MOVING
    assert await said(path=f"{PATH}/latest") == MOVING
    assert await said(symbols="ACME,NOBODY", **HISTORY) == MOVING
    await store(client, [row("2020-01-03", 1.0)])
    assert await said(**HISTORY) == MOVING
    await SealingService(database).seal()
    assert await said(**HISTORY) == SETTLED


FEBRUARY = datetime(2024, 2, 1, tzinfo=UTC)
PLACES = [FEBRUARY + timedelta(days=n) for n in range(6)] + [datetime(2020, 1, n, tzinfo=UTC) for n in (5, 6)]
QUESTIONS = [
    {"format": "json"},
    {"format": "json", **HISTORY},
    {"format": "json", "sort": "desc", "limit": 3},
    {"format": "json", "limit": 2},
    {"format": "json", "limit": 2, "start": "2020-01-06"},
    {"format": "json", "start": "2024-02-02", "end": "2024-02-05"},
]
_writes = st.tuples(
    st.sampled_from(["api", "api", "ecb"]),
    st.dictionaries(st.sampled_from(PLACES), st.integers(1, 4), min_size=1),
)
_deletes = st.tuples(st.sampled_from(["api", "ecb"]), st.tuples(*[st.sampled_from(PLACES)] * 2).map(sorted))
_others = st.sampled_from([("seal", None), ("reindex", None)])


async def apply(database, instrument: int, change, held: dict[str, dict[datetime, float]]) -> None:
    """Change what is stored, and what the test holds of it."""
    name, what = change
    if name in {"seal", "reindex"}:
        await getattr(SealingService(database), name)()
    elif isinstance(what, dict):
        await upsert(database, {SeriesKey(instrument, Interval.D1, name, Basis.RAW): bars(what)})
        held[name] |= what
    else:
        ids = await fetch(database, f"SELECT id FROM series WHERE source = '{name}'")
        async with database.session() as session:
            await BarWriter(session).delete(Interval.D1, [one[0] for one in ids], *what)
        held[name] = {ts: v for ts, v in held[name].items() if not what[0] <= ts < what[1]}


def expected(question, held) -> list[tuple[str, float]]:
    rows = sorted((held["ecb"] or held["api"]).items(), reverse=question.get("sort") == "desc")
    said = [(f"{ts:%Y-%m-%dT%H:%M:%SZ}", value) for ts, value in rows]
    low, high = question.get("start", ""), question.get("end", "9999")
    return [one for one in said if low <= one[0] < high][: question.get("limit")]


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(st.one_of(_writes, _writes, _deletes, _others), min_size=2, max_size=10))
async def test_no_old_copy_is_ever_confirmed(client, database, history):
    async with database.engine.begin() as connection:
        await connection.execute(text("TRUNCATE instrument, series, market_price_daily CASCADE"))
    instrument = await add_instrument(client)
    held, copies = {"api": {}, "ecb": {}}, {}
    for change in history:
        await apply(database, instrument, change, held)
        for number, question in enumerate(QUESTIONS):
            old = copies.get(number)
            answer = await ask(client, headers={"If-None-Match": old[0]} if old else {}, **question)
            assert answer.status_code in {200, 304}
            body = old[1] if answer.status_code == 304 else answer.json()
            assert [(one["ts"], one["close"]) for one in body["data"]] == expected(question, held)
            copies[number] = answer.headers["etag"], body
