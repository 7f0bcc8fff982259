"""Bars in over HTTP: formats, rejections, idempotence, all or nothing."""

import io
import json
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from market_data.core import clock
from tests.support.api import PREFIX, add_instrument, assert_problem, days, post_rows, prices, row, store

PATH = f"{PREFIX}/prices"
ROWS = [
    {"symbol": "ACME", "interval": "1d", **row("2024-01-02T00:00:00Z", 10.5, 7.0, high=11.0)},
    {"symbol": "ACME", "interval": "1d", **row("2024-01-03T00:00:00Z", 10.25, None)},
]


def as_csv(rows):
    lines = [",".join(rows[0])]
    lines += [",".join("" if cell is None else str(cell) for cell in one.values()) for one in rows]
    return "\n".join(lines).encode()


def as_table(rows):
    typed = [one | {"ts": datetime.fromisoformat(one["ts"])} for one in rows]
    return pa.Table.from_pylist(typed)


def as_arrow(rows, batch_rows=None):
    written, table = io.BytesIO(), as_table(rows)
    with pa.ipc.new_stream(written, table.schema) as stream:
        stream.write_table(table, batch_rows)
    return written.getvalue()


def as_parquet(rows):
    written = io.BytesIO()
    pq.write_table(as_table(rows), written)
    return written.getvalue()


BODIES = {
    "application/json": lambda rows: json.dumps(rows).encode(),
    "application/json; charset=utf-8": lambda rows: json.dumps({"data": rows}).encode(),
    "application/x-ndjson": lambda rows: "\n".join(map(json.dumps, rows)).encode(),
    "application/jsonl": lambda rows: ("\n".join(map(json.dumps, rows)) + "\n").encode(),
    "text/csv": as_csv,
    "text/csv; charset=UTF-8": as_csv,
    "application/vnd.apache.arrow.stream": as_arrow,
    "application/vnd.apache.parquet": as_parquet,
}


async def post(client, content, media_type="text/csv", **params):
    return await client.post(PATH, params=params, content=content, headers={"Content-Type": media_type})


async def bars_stored(database) -> int:
    async with database.connection() as connection:
        return await connection.scalar(text("SELECT count(*) FROM v_price"))


@pytest.mark.parametrize("media_type", BODIES)
async def test_every_format_stores_the_same(client, media_type):
    await add_instrument(client)
    answer = await post(client, BODIES[media_type](ROWS), media_type)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "run_id": 1,
        "inserted": 2,
        "updated": 0,
        "unchanged": 0,
        "rejected": 0,
        "rejections": [],
    }
    assert [tuple(one.values()) for one in (await prices(client))["data"]] == [
        ("ACME", "2024-01-02T00:00:00Z", 10.5, 11.0, 10.5, 10.5, 7.0),
        ("ACME", "2024-01-03T00:00:00Z", 10.25, 10.25, 10.25, 10.25, None),
    ]


async def test_what_is_constant_is_a_query_parameter(client):
    number = await add_instrument(client)
    content = b"ts,open,high,low,close\n2024-01-02,1,1,1,1\n"
    for constants in ({"symbol": "ACME"}, {"symbol": "ACME", "exchange": "XNAS"}, {"instrument_id": number}):
        answer = await post(client, content, interval="daily", source="me", basis="split", **constants)
        assert answer.json()["rejected"] == 0, answer.text
    info = (await prices(client))["symbols"]["ACME"]
    assert (info["interval"], info["source"], info["basis"], info["count"]) == ("1d", "me", "split", 1)
    contradicted = b"symbol,ts,open,high,low,close\nB,2024-01-02,1,1,1,1\n"
    assert_problem(await post(client, contradicted, symbol="ACME", interval="1d"), 422, "symbol")


@pytest.mark.parametrize("missing", ["symbol", "interval", "ts", "open", "high", "low", "close"])
async def test_a_missing_column_is_named(client, database, missing):
    await add_instrument(client)
    rows = [{name: value for name, value in one.items() if name != missing} for one in ROWS]
    assert_problem(await post(client, as_csv(rows)), 422, missing)
    assert await bars_stored(database) == 0


async def test_volume_may_be_missing(client):
    await add_instrument(client)
    rows = [{name: value for name, value in one.items() if name != "volume"} for one in ROWS]
    assert (await post(client, as_csv(rows))).json()["inserted"] == 2
    assert [one["volume"] for one in (await prices(client))["data"]] == [None, None]


@pytest.mark.parametrize(
    ("media_type", "content"),
    [
        ("application/json", b"{"),
        ("application/json", b"[1, 2]"),
        ("application/json", b'{"rows": []}'),
        ("application/json", b""),
        ("application/json", b"\xff\xfe"),
        ("application/json", json.dumps(ROWS).encode()[:-1]),
        ("text/csv", as_csv(ROWS) + b'\n"ACME'),
        ("text/csv", as_csv(ROWS) + b"\n\xff\xff"),
        ("application/vnd.apache.arrow.stream", b"nonsense"),
        ("application/vnd.apache.arrow.stream", as_arrow(ROWS)[:-60]),
        ("application/vnd.apache.parquet", b"PAR1 nonsense PAR1"),
        ("application/vnd.apache.parquet", as_parquet(ROWS)[:-9]),
        ("application/vnd.apache.parquet", b""),
    ],
)
async def test_what_cannot_be_read_to_its_end_writes_nothing(client, database, media_type, content):
    await add_instrument(client)
    body = assert_problem(await post(client, content, media_type, symbol="ACME", interval="1d"), 400, "body")
    assert await bars_stored(database) == 0
    run = (await client.get(f"{PREFIX}/ingestions/1")).json()
    assert (run["status"], run["inserted"]) == ("failed", 0)
    assert run["error"] == body["detail"]


async def test_a_run_can_tell_of_columns_with_any_name(client):
    rows = [{"a\x00b": 1, "ts": "2024-01-02"}]
    assert_problem(await post_rows(client, rows, symbol="ACME", interval="1d"), 422, "open")
    run = (await client.get(f"{PREFIX}/ingestions/1")).json()
    assert run["status"] == "failed"
    assert "a\ufffdb" in run["error"]


async def test_columns_of_json_are_read_too(client):
    await add_instrument(client)
    data = {name: [one[name] for one in ROWS] for name in ROWS[0]}
    assert (await post(client, json.dumps({"data": data}), "application/json")).json()["inserted"] == 2


async def test_a_body_broken_at_its_end_writes_no_bar(client, database, monkeypatch):
    """Broken behind several chunks that were read, judged and written already."""
    monkeypatch.setattr("market_data.services.judging.read", _small_chunks)
    await add_instrument(client)
    keys = {"symbol": "ACME", "interval": "1d"}
    rows = [keys | one | {"ts": f"{one['ts']}T00:00:00Z"} for one in days(30)]
    arrow = as_arrow(rows, batch_rows=7)
    answer = await post(client, arrow[:-200], "application/vnd.apache.arrow.stream")
    assert_problem(answer, 400, "body")
    csv = as_csv(rows) + b"\n\xff\xfe"
    assert_problem(await post(client, csv, "text/csv"), 400, "body")
    lines = b"\n".join([*(json.dumps(one).encode() for one in rows), b'{"symbol": "\xff"}'])
    assert_problem(await post(client, lines, "application/x-ndjson"), 400, "body")
    parquet = as_parquet(rows)
    middle = len(parquet) // 3
    damaged = parquet[:middle] + bytes(40) + parquet[middle + 40 :]
    assert_problem(await post(client, damaged, "application/vnd.apache.parquet"), 400, "body")
    assert await bars_stored(database) == 0


def _small_chunks(stream, file_format):
    from market_data.etl.readers.format import read

    return read(stream, file_format, chunk_rows=7)


@pytest.mark.parametrize(
    "media_type", ["", "text/plain", "application/xml", "multipart/form-data", "text/csv; charset=latin-1"]
)
async def test_other_types_are_415(client, media_type):
    await add_instrument(client)
    assert_problem(await post(client, as_csv(ROWS), media_type), 415, "Content-Type")
    assert (await client.get(f"{PREFIX}/ingestions")).json()["data"] == []


@pytest.mark.parametrize(
    ("changed", "reason", "words"),
    [
        ({"high": 9.0}, "high_below_low", "9.0 is below the low"),
        ({"open": 11.0}, "open_outside_range", "open 11.0"),
        ({"close": 12.0}, "close_outside_range", "close 12.0"),
        ({"open": 0.0, "high": 0.0, "low": 0.0, "close": 0.0}, "not_positive", "not positive"),
        ({"volume": -1}, "negative_volume", "-1.0 is negative"),
        ({"open": None}, "missing_value", "open"),
        ({"ts": None}, "missing_value", "ts"),
        ({"ts": "2024-01-02T09:30:00"}, "naive_time", "offset"),
        ({"ts": "2024-01-02T09:30:00Z"}, "misaligned", "2024-01-02T00:00:00"),
        ({"ts": "yesterday"}, "unreadable", "yesterday"),
        ({"close": "ten"}, "unreadable", "ten"),
        ({"high": "inf"}, "not_finite", "high"),
        ({"interval": "1M"}, "unknown_interval", "1mo"),
        ({"interval": None}, "missing_value", "interval"),
        ({"symbol": None}, "missing_value", "symbol"),
        ({"symbol": "nobody"}, "unknown_instrument", "nobody"),
        ({"symbol": "A'; DROP TABLE series; --"}, "unreadable", "symbol"),
        ({"symbol": "A';DROP"}, "unknown_instrument", "A';DROP"),
        ({"symbol": "TWIN"}, "ambiguous_instrument", "XNYS:TWIN"),
        ({"symbol": "OLD"}, "unknown_instrument", "OLD"),
        ({"symbol": None, "instrument_id": 99}, "unknown_instrument", "99"),
        ({"symbol": None, "instrument_id": 2**40}, "unknown_instrument", str(2**40)),
        ({"symbol": None, "instrument_id": -1}, "unreadable", "instrument_id"),
    ],
)
async def test_each_reason_is_told_and_does_not_stop_the_rest(client, changed, reason, words):
    await add_instrument(client)
    await add_instrument(client, "OLD", active=False)
    for exchange in ("XNAS", "XNYS"):
        await add_instrument(client, "TWIN", exchange=exchange)
    good = ROWS[0] | {"instrument_id": None}
    bad = good | {"ts": "2024-01-03", "open": 10.5, "high": 10.5} | changed
    result = (await post_rows(client, [good, bad, good | {"ts": "2024-01-04"}])).json()
    assert (result["inserted"], result["rejected"]) == (2, 1), result
    (told,) = result["rejections"]
    assert told["reason"] == reason
    assert words in told["detail"]
    assert json.loads(told["text"])["close"] == bad["close"]
    run = (await client.get(f"{PREFIX}/ingestions/{result['run_id']}")).json()
    assert (run["status"], run["rejected"]) == ("partial", 1)
    kept = (await client.get(f"{PREFIX}/ingestions/{result['run_id']}/rejections")).json()
    assert kept == {"data": [told], "next_page_token": None}


async def test_bars_of_the_future_and_bars_that_run_are_refused(client, monkeypatch):
    await add_instrument(client)
    monkeypatch.setattr(clock, "now", lambda: datetime(2024, 1, 3, 23, 54, tzinfo=UTC))
    rows = [row(f"2024-01-0{day}") for day in (1, 2, 3, 4)]
    result = (await post_rows(client, rows, symbol="ACME", interval="1d")).json()
    assert (result["inserted"], result["rejected"]) == (2, 2)
    assert {one["reason"] for one in result["rejections"]} == {"future"}
    monkeypatch.setattr(clock, "now", lambda: datetime(2024, 1, 3, 23, 55, tzinfo=UTC))
    result = (await post_rows(client, rows, symbol="ACME", interval="1d")).json()
    assert (result["inserted"], result["unchanged"], result["rejected"]) == (1, 2, 1)


async def test_the_same_again_writes_nothing_and_a_correction_updates(client):
    await add_instrument(client)
    rows = days(5)
    assert (await store(client, rows))["inserted"] == 5
    again = await store(client, rows)
    assert (again["inserted"], again["updated"], again["unchanged"]) == (0, 0, 5)
    rows[2]["high"] = 99.0
    once = await store(client, rows)
    assert (once["inserted"], once["updated"], once["unchanged"]) == (0, 1, 4)
    assert [one["high"] for one in (await prices(client))["data"]] == [10.0, 10.01, 99.0, 10.03, 10.04]


async def test_of_duplicates_the_last_wins(client):
    await add_instrument(client)
    rows = [row("2024-01-02", 1.0), row("2024-01-02", 2.0), row("2024-01-02T00:00:00+00:00", 2.0)]
    result = (await post_rows(client, rows, symbol="ACME", interval="1d")).json()
    assert (result["inserted"], result["rejected"]) == (1, 1)
    assert result["rejections"][0]["reason"] == "conflicting_duplicate"
    assert json.loads(result["rejections"][0]["text"])["close"] == 1.0
    assert [one["close"] for one in (await prices(client))["data"]] == [2.0]


async def test_one_instrument_under_several_names_in_a_body(client):
    number = await add_instrument(client)
    rows = [
        {"symbol": "ACME", "exchange": None, "instrument_id": None, **row("2024-01-02", 1.0)},
        {"symbol": None, "exchange": None, "instrument_id": number, **row("2024-01-02", 2.0)},
        {"symbol": "ACME", "exchange": "XNAS", "instrument_id": None, **row("2024-01-03", 3.0)},
    ]
    result = (await post_rows(client, rows, interval="1d")).json()
    assert (result["inserted"], result["rejected"]) == (2, 1)
    assert [one["close"] for one in (await prices(client))["data"]] == [2.0, 3.0]


async def test_an_inactive_instrument_takes_bars_by_id_only(client):
    number = await add_instrument(client, active=False)
    result = (await post_rows(client, days(1), symbol="ACME", interval="1d")).json()
    assert result["rejections"][0]["reason"] == "unknown_instrument"
    await store(client, days(1), symbol=None, instrument_id=number)


async def test_rates_and_futures_may_be_negative(client):
    for asset_class in ("rate", "future"):
        await add_instrument(client, asset_class, asset_class=asset_class)
        assert (await store(client, [row("2024-01-02", -37.63)], symbol=asset_class))["inserted"] == 1


async def test_intraday_bars_of_a_session(client):
    await add_instrument(client)
    rows = [row("2024-01-02T14:30:00Z")]
    refused = (await post_rows(client, rows, symbol="ACME", interval="1h")).json()
    assert "session" in refused["rejections"][0]["detail"]
    assert (await store(client, rows, interval="1h", align="session"))["inserted"] == 1


async def test_an_answer_carries_a_hundred_rejections_and_the_run_the_rest(client):
    await add_instrument(client)
    rows = [row(f"2024-01-02T00:{n % 60:02d}:{n // 60 + 1:02d}Z") for n in range(250)]
    result = (await post_rows(client, rows, symbol="ACME", interval="1m")).json()
    assert (result["inserted"], result["rejected"], len(result["rejections"])) == (0, 250, 100)
    path, found, token = f"{PREFIX}/ingestions/1/rejections", [], None
    while True:
        query = {"limit": 90} | ({"page_token": token} if token else {})
        page = (await client.get(path, params=query)).json()
        found += page["data"]
        token = page["next_page_token"]
        if token is None:
            break
    assert len(found) == 250
    assert found[:100] == result["rejections"]


async def test_nothing_in_a_body_is_no_mistake(client):
    await add_instrument(client)
    header = as_csv(ROWS).splitlines()[0]
    assert (await post(client, header)).json()["inserted"] == 0


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"source": "A B"}, "source"),
        ({"basis": "net"}, "basis"),
        ({"align": "moon"}, "align"),
        ({"symbol": "A B"}, "symbol"),
        ({"exchange": "?"}, "exchange"),
        ({"instrument_id": "0"}, "instrument_id"),
        ({"interval": "1M"}, "interval"),
    ],
)
async def test_wrong_parameters(client, query, field):
    assert_problem(await post(client, as_csv(ROWS), **query), 422, field)


async def test_runs_are_recorded(client):
    await add_instrument(client)
    began = datetime.now(UTC) - timedelta(minutes=1)
    await store(client, days(3), source="me")
    run = (await client.get(f"{PREFIX}/ingestions/1")).json()
    assert (run["source"], run["status"], run["error"]) == ("me", "succeeded", None)
    counts = [run[name] for name in ("inserted", "updated", "unchanged", "unfinished", "rejected")]
    assert counts == [3, 0, 0, 0, 0]
    assert run["parameters"]["constants"] == {"symbol": "ACME", "interval": "1d"}
    stamps = [datetime.fromisoformat(run[name]) for name in ("created_at", "started_at", "finished_at")]
    assert began < stamps[0] <= stamps[1] <= stamps[2]
