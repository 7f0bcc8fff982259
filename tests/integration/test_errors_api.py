"""Whatever goes wrong has one shape, an id, and leaves nothing behind."""

import asyncio
import socket

import httpx2
import numpy as np
import pytest
import uvicorn
from asyncpg import PostgresError
from sqlalchemy import text

from market_data.api.frames import FrameCache
from market_data.api.responder import PriceResponder
from market_data.core.bars import Bars
from market_data.core.exceptions import ConcurrentChange
from market_data.core.interval import Basis, Interval
from market_data.db import migrations
from market_data.db.session import READERS, Database
from market_data.main import create_app
from market_data.repositories.market_price_writer import BarWriter, SeriesKey
from market_data.services.market_price import MarketPriceService
from market_data.services.price_page import PricePage
from tests.support.api import PREFIX, add_instrument, assert_problem, days, post_rows, prices, store

PATH = f"{PREFIX}/prices"
INJECTION = "A'; DROP TABLE market_price_daily; --"


@pytest.fixture
async def acme(client):
    number = await add_instrument(client)
    await store(client, days(3))
    return number


@pytest.mark.parametrize("given", ["abc-123", "A" * 128, "01HZX.~+/=_"])
async def test_a_request_id_is_echoed(client, given):
    answer = await client.get(f"{PREFIX}/instruments/99", headers={"X-Request-ID": given})
    assert answer.headers["x-request-id"] == given
    assert_problem(answer, 404)


@pytest.mark.parametrize("given", [None, "", "A" * 129, "a b", "a\tb", "é", '"'])
async def test_a_request_id_is_made_where_none_of_use_was_given(client, given):
    headers = {} if given is None else {"X-Request-ID": given.encode()}
    made = [(await client.get("/health", headers=headers)).headers["x-request-id"] for _ in range(2)]
    assert made[0] != made[1]
    assert all(len(one) == 32 for one in made)


@pytest.mark.parametrize("path", ["/", "/nothing", f"{PREFIX}/", f"{PATH}/", f"{PREFIX}/instruments/1/x"])
async def test_unknown_routes(client, path):
    assert "nothing is served at" in assert_problem(await client.get(path), 404)["detail"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", PATH, "GET, HEAD, POST"),
        ("DELETE", f"{PREFIX}/instruments", "GET, HEAD, POST"),
        ("POST", f"{PREFIX}/instruments/1", "GET, HEAD, PATCH, DELETE"),
        ("POST", f"{PREFIX}/instruments/1/prices", "GET, HEAD, DELETE"),
        ("POST", "/health", "GET, HEAD"),
        ("OPTIONS", f"{PATH}/latest", "GET, HEAD"),
        ("TRACE", f"{PREFIX}/series", "GET, HEAD"),
    ],
)
async def test_unserved_methods_name_the_served_ones(client, method, path, allowed):
    answer = await client.request(method, path)
    assert allowed in assert_problem(answer, 405)["detail"]
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize(
    ("query", "status", "field", "words"),
    [
        ({"start": "2024-01-02T09:30:00"}, 422, "start", "no offset: write 2024-01-02T09:30:00Z"),
        ({"interval": "1M"}, 422, "interval", "1m for one minute or 1mo for one month"),
        ({"start": "2024-01-03", "end": "2024-01-02"}, 422, "end", "before start"),
        ({"limit": "0"}, 422, "limit", "greater than or equal to 1"),
        ({"limit": "1000001"}, 422, "limit", "less than or equal to 1000000"),
        ({"symbols": "nobody"}, 404, "symbols", "no instrument known as nobody"),
        ({"symbols": INJECTION}, 404, "symbols", INJECTION),
        ({"page_token": "AAAA"}, 400, "page_token", "repeat the query"),
        ({"source": INJECTION}, 422, "source", "small letters"),
        ({"start": INJECTION}, 422, "start", "is not a time"),
    ],
)
async def test_wrong_questions_get_an_answer_to_act_on(client, acme, query, status, field, words):
    answer = await client.get(PATH, params={"symbols": "ACME", "interval": "1d"} | query)
    assert words in assert_problem(answer, status, field)["detail"]
    assert len((await prices(client))["data"]) == 3


async def test_sql_in_every_text_is_a_text(client, database, acme):
    for name in ("q", "exchange", "currency", "page_token"):
        answer = await client.get(f"{PREFIX}/instruments", params={name: INJECTION})
        assert answer.status_code in {200, 400, 422}
    await client.patch(f"{PREFIX}/instruments/{acme}", json={"name": INJECTION})
    symbol = "A';DROP--"
    await add_instrument(client, symbol)
    await store(client, days(1), symbol=symbol)
    assert (await prices(client, symbols=f"{symbol},XNAS:{symbol}"))["symbols"][symbol]["count"] == 1
    assert (await client.get(f"{PREFIX}/series", params={"symbols": symbol})).json()["data"][0]["count"] == 1
    found = (await client.get(f"{PREFIX}/instruments", params={"q": INJECTION})).json()["data"]
    assert [one["name"] for one in found] == [INJECTION]


async def test_a_body_declared_too_large_is_not_read(client, acme):
    asked = []

    async def body():
        asked.append(1)
        yield b"symbol,interval,ts,open,high,low,close\n"

    headers = {"Content-Type": "text/csv", "Content-Length": str(2 * 1024**3)}
    answer = await client.post(PATH, content=body(), headers=headers)
    assert "MAX_BODY_BYTES" in assert_problem(answer, 413, "body")["detail"]
    assert asked == []
    headers = {"Content-Type": "application/json", "Content-Length": str(1024**2 + 1)}
    for method, path in (("POST", "instruments"), ("PATCH", f"instruments/{acme}"), ("POST", "ingestions")):
        answer = await client.request(method, f"{PREFIX}/{path}", content=b"{}", headers=headers)
        assert_problem(answer, 413, "body")


@pytest.mark.parametrize("declared", ["9" * 5000, "²", "-1", "x"])
async def test_strange_content_lengths(client, acme, declared):
    headers = {"Content-Type": "application/json", "Content-Length": declared.encode("latin-1")}
    answer = await client.post(f"{PREFIX}/instruments", content=b"{}", headers=headers)
    assert_problem(answer, 413 if declared.startswith("9") else 422)


async def test_a_body_that_turns_out_too_large_writes_nothing(database, settings):
    app = create_app(settings.model_copy(update={"max_body_bytes": 2000}))
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://api.test") as client,
    ):
        await add_instrument(client)

        async def body():
            yield b"ts,open,high,low,close\n"
            for number in range(100):
                yield b"2024-01-02,1,1,1,%d\n" % number + b" " * 50

        query = {"symbol": "ACME", "interval": "1d"}
        answer = await client.post(PATH, params=query, content=body(), headers={"Content-Type": "text/csv"})
        assert_problem(answer, 413, "body")
        whole = (await post_rows(client, days(5), **query)).json()
        assert whole["inserted"] == 5
        assert (await client.get(f"{PREFIX}/ingestions")).json()["data"][0]["inserted"] == 5


async def test_an_unexpected_error_is_500_with_its_id_and_no_details(client, acme, monkeypatch, capsys):
    def broken(*_, **__):
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr("market_data.services.series.SeriesRepository.list_", broken)
    answer = await client.get(f"{PREFIX}/series", headers={"X-Request-ID": "find-me"})
    body = assert_problem(answer, 500)
    assert body["request_id"] == "find-me"
    assert "hunter2" not in answer.text
    logged = capsys.readouterr().err
    assert "unexpected error" in logged
    assert "find-me" in logged
    assert "hunter2" not in logged


async def test_other_writers_in_the_way_are_409_after_several_tries(client, acme, monkeypatch):
    tries = []

    async def in_the_way(*_):
        tries.append(1)
        raise ConcurrentChange("another writer was in the way; nothing was stored, repeat it")

    monkeypatch.setattr(BarWriter, "upsert", in_the_way)
    answer = await post_rows(client, days(1), symbol="ACME", interval="1d")
    assert "repeat it" in assert_problem(answer, 409)["detail"]
    assert len(tries) == 5
    run = (await client.get(f"{PREFIX}/ingestions/2")).json()
    assert (run["status"], run["inserted"]) == ("failed", 0)


async def test_a_writer_that_gets_out_of_the_way_is_not_noticed(client, acme, monkeypatch):
    upsert, tries = BarWriter.upsert, []

    async def once_in_the_way(writer, batch, run_id):
        written = await upsert(writer, batch, run_id)
        tries.append(1)
        if len(tries) == 1:
            raise ConcurrentChange("another writer was in the way")
        return written

    monkeypatch.setattr(BarWriter, "upsert", once_in_the_way)
    result = (
        await post_rows(
            client, [*days(4), {"ts": "x"} | days(1)[0] | {"ts": "x"}], symbol="ACME", interval="1d"
        )
    ).json()
    assert [result[n] for n in ("inserted", "unchanged", "rejected")] == [1, 3, 1]
    assert len(result["rejections"]) == 1
    run = (await client.get(f"{PREFIX}/ingestions/2")).json()
    assert [run[n] for n in ("inserted", "unchanged", "rejected")] == [1, 3, 1]


async def test_an_upload_that_is_stopped_is_recorded_as_cancelled(client, acme, monkeypatch):
    reached = asyncio.Event()

    async def hang(*_):
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(BarWriter, "upsert", hang)
    uploading = asyncio.create_task(post_rows(client, days(5), symbol="ACME", interval="1d"))
    await reached.wait()
    uploading.cancel()
    await asyncio.gather(uploading, return_exceptions=True)
    run = (await client.get(f"{PREFIX}/ingestions/2")).json()
    assert (run["status"], run["inserted"], run["error"]) == ("cancelled", 0, "stopped; repeating is safe")
    assert len((await prices(client))["data"]) == 3


async def test_a_database_that_is_gone_is_503(client, app):
    there, responder = app.state.database, app.state.responder
    app.state.database = gone = Database("postgresql://nobody@127.0.0.1:1/none")
    app.state.responder = PriceResponder(MarketPriceService(gone, ()), FrameCache(0))
    try:
        for path in ("/health/ready", f"{PREFIX}/instruments", f"{PATH}?symbols=A&interval=1d"):
            body = assert_problem(await client.get(path), 503)
            assert "database" in body["detail"]
        assert (await client.get("/health/live")).status_code == 200
    finally:
        app.state.database, app.state.responder = there, responder
        await gone.close()


async def test_an_old_schema_is_not_ready(client, database):
    newest = (await migrations.revision(database)).head
    moved = text("UPDATE alembic_version SET version_num = :to")
    async with database.engine.begin() as connection:
        await connection.execute(moved, {"to": "0001"})
    body = assert_problem(await client.get("/health/ready"), 503)
    async with database.engine.begin() as connection:
        await connection.execute(moved, {"to": newest})
    assert "market-data db upgrade" in body["detail"]
    assert (await client.get("/health/ready")).status_code == 200


async def many_bars(database, instrument: int, count: int = 60_000) -> None:
    ts = np.datetime64("1990-01-01", "us") + np.arange(count) * np.timedelta64(1, "m")
    column = np.arange(1.0, count + 1)
    async with database.session() as session:
        batch = {SeriesKey(instrument, Interval.M1, "api", Basis.RAW): Bars(ts, *[column] * 5)}
        await BarWriter(session).upsert(batch, 1)


@pytest.fixture
async def server(app):
    """The app behind a real HTTP server on a free port."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        async with asyncio.timeout(10):
            while not server.started:  # noqa: ASYNC110 # it tells nobody
                await asyncio.sleep(0)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        await serving


@pytest.fixture
def broken_off(monkeypatch):
    """The database fails after the second block."""
    blocks = PricePage.blocks

    async def some(page):
        number = 0
        async for block in blocks(page):
            yield block
            number += 1
            if number == 2:
                raise PostgresError("the disk is gone")

    monkeypatch.setattr(PricePage, "blocks", some)


@pytest.mark.parametrize("format_name", ["json", "ndjson", "csv", "arrow", "parquet"])
async def test_what_breaks_in_mid_stream_has_no_proper_end(client, database, server, broken_off, format_name):
    await many_bars(database, await add_instrument(client))
    query = {"symbols": "ACME", "interval": "1m", "format": format_name}
    if format_name == "json":
        query["limit"] = "60000"
    async with (
        httpx2.AsyncClient(base_url=server) as real,
        real.stream("GET", PATH, params=query) as answer,
    ):
        assert answer.status_code == 200
        with pytest.raises(httpx2.RemoteProtocolError):
            await answer.aread()


async def test_what_breaks_before_the_first_byte_is_a_problem(client, acme, monkeypatch):
    def broken(_):
        raise PostgresError("the disk is gone")

    monkeypatch.setattr(PricePage, "blocks", broken)
    for format_name in ("json", "columns", "csv", "parquet"):
        answer = await client.get(PATH, params={"symbols": "ACME", "interval": "1d", "format": format_name})
        assert_problem(answer, 500)


async def test_clients_that_leave_in_mid_stream_free_their_connections(client, database, server, app):
    await many_bars(database, await add_instrument(client), 200_000)
    query = {"symbols": "ACME", "interval": "1m", "format": "ndjson"}
    async with httpx2.AsyncClient(base_url=server) as real:
        for _ in range(READERS + 5):  # more than may read at the same time
            async with asyncio.timeout(10), real.stream("GET", PATH, params=query) as answer:
                assert answer.status_code == 200
                async for _piece in answer.aiter_raw():
                    break
        rows = (await real.get(PATH, params=query | {"limit": "3"})).text
    assert len(rows.splitlines()) == 3
    busy = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND state <> 'idle'"
    )
    async with asyncio.timeout(10), database.engine.connect() as connection:
        while await connection.scalar(text(busy)):
            await connection.rollback()


async def test_a_client_that_leaves_while_it_uploads_writes_nothing(client, database, server):
    await add_instrument(client)
    host, port = server.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = f"POST {PATH}?symbol=ACME&interval=1d HTTP/1.1\r\nHost: x\r\n"
    head += "Content-Type: text/csv\r\nContent-Length: 9999\r\n\r\n"
    writer.write(head.encode() + b"ts,open,high,low,close\n2024-01-02,1,1,1,1\n")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    async with httpx2.AsyncClient(base_url=server) as real:
        assert (await real.get(f"{PREFIX}/ingestions")).json()["data"] == []
    assert (await prices(client))["data"] == []


async def test_two_gigabytes_are_refused_by_a_real_server(client, server):
    host, port = server.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: {2 * 1024**3}\r\n\r\n"
    )
    writer.write(head.encode() + b"symbol,")
    async with asyncio.timeout(10):
        answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    writer.close()
    await writer.wait_closed()
