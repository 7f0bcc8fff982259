"""Short ways to put instruments and bars into the API under test. All figures are given, none computed."""

import json

import httpx2

PREFIX = "/api/v1"
COLUMNS = ["symbol", "ts", "open", "high", "low", "close", "volume"]
PROBLEM = "application/problem+json"

INSTRUMENT = {"symbol": "ACME", "exchange": "XNAS", "asset_class": "equity", "currency": "USD"}


async def add_instrument(client: httpx2.AsyncClient, symbol: str = "ACME", **values) -> int:
    answer = await client.post(f"{PREFIX}/instruments", json=INSTRUMENT | {"symbol": symbol} | values)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def row(ts: str, close: float = 10.0, volume: float | None = 100.0, **values) -> dict:
    """A valid bar around its close."""
    bar = {"ts": ts, "open": close, "high": close, "low": close, "close": close, "volume": volume}
    return bar | values


def days(count: int, first: int = 1, close: float = 10.0) -> list[dict]:
    """Bars of consecutive days of January 2024, each a cent above the one before."""
    return [row(f"2024-01-{first + n:02d}", round(close + n / 100, 2)) for n in range(count)]


async def post_rows(client: httpx2.AsyncClient, rows: list[dict], **params) -> httpx2.Response:
    return await client.post(
        f"{PREFIX}/prices",
        params={name: value for name, value in params.items() if value is not None},
        content=json.dumps(rows),
        headers={"Content-Type": "application/json"},
    )


async def store(client: httpx2.AsyncClient, rows: list[dict], **params) -> dict:
    """Upload rows that must all be accepted."""
    answer = await post_rows(client, rows, **{"symbol": "ACME", "interval": "1d"} | params)
    assert answer.status_code == 200, answer.text
    assert answer.json()["rejected"] == 0, answer.text
    return answer.json()


async def prices(client: httpx2.AsyncClient, **params) -> dict:
    query = {"symbols": "ACME", "interval": "1d"} | params
    asked = {name: value for name, value in query.items() if value is not None}
    answer = await client.get(f"{PREFIX}/prices", params=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def assert_problem(answer: httpx2.Response, status: int, field: str | None = None) -> dict:
    """A problem of this status, complete, and naming the field at fault."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == PROBLEM
    body = answer.json()
    assert set(body) == {"type", "title", "status", "detail", "instance", "request_id", "errors"}
    assert body["status"] == status
    assert body["instance"] == answer.request.url.path
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["detail"]
    if field is not None:
        assert [error["field"] for error in body["errors"]] == [field], body
        assert body["errors"][0]["message"]
    return body
