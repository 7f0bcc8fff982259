import httpx2
import pytest
from fastapi import FastAPI

from tests.support import api


@pytest.mark.parametrize("path", ["/health", "/health/ready", "/api/v1/instruments", "/openapi.json"])
async def test_head_is_get_without_a_body(client: httpx2.AsyncClient, path: str) -> None:
    got, head = await client.get(path), await client.head(path)
    assert head.status_code == got.status_code == 200
    assert head.content == b""
    assert head.headers["content-length"] == got.headers["content-length"]
    assert head.headers["content-type"] == got.headers["content-type"]


async def test_head_of_an_error(client: httpx2.AsyncClient) -> None:
    head = await client.head("/api/v1/nothing")
    assert head.status_code == 404
    assert head.content == b""
    assert head.headers["content-type"] == "application/problem+json"


async def test_head_of_a_stream_stops_it(
    client: httpx2.AsyncClient, app: FastAPI, capsys: pytest.CaptureFixture[str]
) -> None:
    await api.add_instrument(client, "LONG")
    minutes = [f"2024-01-{1 + i // 1440:02d}T{i // 60 % 24:02d}:{i % 60:02d}:00Z" for i in range(20_000)]
    await api.store(client, [api.row(ts) for ts in minutes], symbol="LONG", interval="1m")
    head = await client.head("/api/v1/prices", params={"symbols": "LONG", "interval": "1m", "format": "csv"})
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-type"] == "text/csv; charset=utf-8"
    assert "unexpected error" not in capsys.readouterr().err
    async with app.state.database.reading() as raw:  # the stream's connection is free again and works
        assert await raw.fetchval("SELECT 1") == 1
