"""Six formats of the same bars hold the same values, each decoded by an independent reader."""

import csv
import io
import json
import math
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from market_data.core.bars import Bars
from market_data.core.interval import Basis, Interval
from market_data.repositories.market_price_writer import BarWriter, SeriesKey
from tests.support.api import COLUMNS, PREFIX, add_instrument, assert_problem, days, row, store

PATH = f"{PREFIX}/prices"
MEDIA_TYPES = {
    "json": "application/json",
    "columns": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
}


def of_json(content):
    return [tuple(one[name] for name in COLUMNS) for one in json.loads(content)["data"]]


def of_columns(content):
    data = json.loads(content)["data"]
    assert list(data) == COLUMNS
    return list(zip(*data.values(), strict=True))


def of_ndjson(content):
    lines = content.decode().splitlines()
    assert all(list(json.loads(line)) == COLUMNS for line in lines)
    return [tuple(json.loads(line).values()) for line in lines]


def of_csv(content):
    rows = list(csv.reader(io.StringIO(content.decode(), newline="")))
    assert rows[0] == COLUMNS
    return [
        (one[0], one[1], *(float(cell) for cell in one[2:6]), float(one[6]) if one[6] else None)
        for one in rows[1:]
    ]


def of_table(table):
    assert table.column_names == COLUMNS
    assert table.schema.field("symbol").type == pa.string()
    assert table.schema.field("ts").type == pa.timestamp("us", "UTC")
    assert {table.schema.field(name).type for name in COLUMNS[2:]} == {pa.float64()}
    return [
        (one[0], f"{one[1]:%Y-%m-%dT%H:%M:%SZ}", *one[2:])
        for one in zip(*(table[name].to_pylist() for name in COLUMNS), strict=True)
    ]


DECODERS = {
    "json": of_json,
    "columns": of_columns,
    "ndjson": of_ndjson,
    "csv": of_csv,
    "arrow": lambda content: of_table(pa.ipc.open_stream(content).read_all()),
    "parquet": lambda content: of_table(pq.read_table(io.BytesIO(content))),
}


async def ask(client, format_name, **query):
    query = {"symbols": "ACME", "interval": "1d", "format": format_name} | query
    answer = await client.get(PATH, params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPES[format_name]
    return answer


AWKWARD = [
    0.00000812,
    64908.72,
    0.1 + 0.2,
    1e-300,
    1e22,
    123456789012345.0,
    5e-324,
    1.7976931348623157e308,
    100.0,
]


@pytest.fixture
async def bars(client):
    """Awkward numbers, with and without volume, of two symbols; one of them needs quoting."""
    await add_instrument(client)
    await add_instrument(client, "Q\"T;'<")
    rows = [
        row(f"2024-01-{n:02d}", value, None if n % 3 == 0 else value)
        for n, value in enumerate(AWKWARD, start=1)
    ]
    await store(client, rows)
    await store(client, rows[:2], symbol="Q\"T;'<")
    values = [
        (f"2024-01-{n:02d}T00:00:00Z", *[value] * 4, None if n % 3 == 0 else value)
        for n, value in enumerate(AWKWARD, start=1)
    ]
    return [("ACME", *one) for one in values] + [("Q\"T;'<", *one) for one in values[:2]]


@pytest.mark.parametrize("format_name", MEDIA_TYPES)
async def test_each_format_holds_the_values_that_were_given(client, bars, format_name):
    answer = await ask(client, format_name, symbols="ACME,Q\"T;'<")
    assert DECODERS[format_name](answer.content) == bars


@pytest.mark.parametrize("format_name", MEDIA_TYPES)
async def test_random_doubles_come_back_bit_for_bit(client, database, format_name):
    number = await add_instrument(client)
    generator = random.Random(7)  # noqa: S311 # figures, not secrets
    values = [
        float(f"{generator.uniform(-1, 1):.14e}") * 10.0 ** generator.randint(-12, 12) for _ in range(20_000)
    ]
    column = np.array(values)
    ts = np.datetime64("1990-01-01", "us") + np.arange(len(values)) * np.timedelta64(1, "m")
    volume = np.where(np.arange(len(values)) % 5 == 0, np.nan, np.abs(column))
    async with database.session() as session:
        batch = {SeriesKey(number, Interval.M1, "api", Basis.RAW): Bars(ts, *[column] * 4, volume)}
        await BarWriter(session).upsert(batch, 1)
    answer = await ask(client, format_name, interval="1m", limit="20000")
    decoded = DECODERS[format_name](answer.content)
    assert [one[5].hex() for one in decoded] == [value.hex() for value in values]
    assert [one[1] for one in decoded[:2]] == ["1990-01-01T00:00:00Z", "1990-01-01T00:01:00Z"]
    shown = [one[6] for one in decoded]
    expected = [None if n % 5 == 0 else abs(value) for n, value in enumerate(values)]
    assert shown == expected
    assert not any(isinstance(one, float) and math.isnan(one) for one in shown)


@pytest.mark.parametrize("format_name", MEDIA_TYPES)
async def test_no_rows_at_all(client, format_name):
    await add_instrument(client)
    answer = await ask(client, format_name)
    assert DECODERS[format_name](answer.content) == []


async def test_an_absent_volume_is_an_empty_cell_and_null(client):
    await add_instrument(client)
    await store(client, [row("2024-01-02", 1.5, None)])
    assert (await ask(client, "csv")).text == (
        "symbol,ts,open,high,low,close,volume\nACME,2024-01-02T00:00:00Z,1.5,1.5,1.5,1.5,\n"
    )
    assert (await ask(client, "ndjson")).text.endswith('"volume":null}\n')
    assert (await ask(client, "columns")).json()["data"]["volume"] == [None]
    table = pa.ipc.open_stream((await ask(client, "arrow")).content).read_all()
    assert table["volume"].null_count == 1
    assert table.schema.field("volume").nullable
    assert not table.schema.field("close").nullable


@pytest.mark.parametrize("format_name", ["arrow", "parquet"])
async def test_what_holds_for_a_symbol_is_in_the_metadata(client, format_name):
    number = await add_instrument(client)
    await add_instrument(client, "EMPTY")
    await store(client, days(2), source="file", basis="split")
    content = (await ask(client, format_name, symbols="ACME,EMPTY")).content
    if format_name == "arrow":
        metadata = pa.ipc.open_stream(content).schema.metadata
    else:
        metadata = pq.read_schema(io.BytesIO(content)).metadata
    common = {"exchange": "XNAS", "currency": "USD", "interval": "1d", "derived_from": None}
    assert json.loads(metadata[b"symbols"]) == {
        "ACME": {"instrument_id": number, **common, "source": "file", "basis": "split"},
        "EMPTY": {"instrument_id": number + 1, **common, "source": None, "basis": None},
    }


async def test_columns_carry_the_same_envelope_as_json(client):
    await add_instrument(client)
    await store(client, days(5))
    for query in ({}, {"limit": "2"}):
        json_body, columns = (
            (await ask(client, "json", **query)).json(),
            (await ask(client, "columns", **query)).json(),
        )
        assert list(columns) == ["data", "symbols", "next_page_token"]
        assert {name: columns[name] for name in ("symbols", "next_page_token")} == {
            name: json_body[name] for name in ("symbols", "next_page_token")
        }


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("application/*", "application/json"),
        ("text/csv", "text/csv; charset=utf-8"),
        ("TEXT/CSV; header=present", "text/csv; charset=utf-8"),
        ("text/*", "text/csv; charset=utf-8"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("application/ndjson", "application/x-ndjson"),
        ("application/jsonl", "application/x-ndjson"),
        ("application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.stream"),
        ("application/vnd.apache.parquet", "application/vnd.apache.parquet"),
        ("application/x-parquet", "application/vnd.apache.parquet"),
        ("text/html, application/json;q=0.1, text/csv;q=0.5", "text/csv; charset=utf-8"),
        ("application/json;q=0, */*;q=0.1", "application/x-ndjson"),
        ("text/csv;q=nan, application/json;q=0.2", "application/json"),
        ("text/csv;q=2, application/json;q=0.2", "application/json"),
    ],
)
async def test_formats_by_accept(client, accept, expected):
    await add_instrument(client)
    headers = {} if accept is None else {"Accept": accept}
    answer = await client.get(PATH, params={"symbols": "ACME", "interval": "1d"}, headers=headers)
    assert answer.headers["content-type"] == expected
    assert answer.headers["vary"] == "Accept, Accept-Encoding"


async def test_columns_by_accept(client):
    await add_instrument(client)
    headers = {"Accept": "application/vnd.market-data.columns+json"}
    answer = await client.get(PATH, params={"symbols": "ACME", "interval": "1d"}, headers=headers)
    assert answer.json()["data"] == {name: [] for name in COLUMNS}


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "image/png, text/html;q=0.9", "csv"])
async def test_nothing_acceptable_is_406_unless_the_format_is_named(client, accept):
    await add_instrument(client)
    query = {"symbols": "ACME", "interval": "1d"}
    body = assert_problem(await client.get(PATH, params=query, headers={"Accept": accept}), 406, "Accept")
    assert "?format=" in body["detail"]
    named = await client.get(PATH, params=query | {"format": "csv"}, headers={"Accept": accept})
    assert named.headers["content-type"].startswith("text/csv")
