"""Routes of bars that are served directly answer like those FastAPI serves by itself."""

import httpx2
import pytest
from fastapi import FastAPI

from market_data.api import problems
from market_data.api.head import HeadAsGet
from market_data.api.routes import prices
from market_data.main import create_app
from tests.support.api import PREFIX, add_instrument, assert_problem, days, store

PATH = f"{PREFIX}/prices"
GOOD = "symbols=ACME&interval=1d"
PARAMETERS = {
    "symbols": ["", "%00", "caf%C3%A9", "%7F", "A" * 50_001, "A,,B", "A,A", ","],
    "instrument_ids": ["", "x", "0", "-1", "1,", "1,1", "99999999999", "4294967296", "1;2", "%D9%A1"],
    "interval": ["", "1M", "2d", "x" * 100, "null"],
    "start": [
        "",
        "yesterday",
        "2024-13-01",
        "2024-01-02T09:30:00",
        "1704153600",
        "2024-01-02T00:00:00+00:00",
    ],
    "end": ["", "2024-02-30", "99999-01-01", "2024-01-02%2000:00"],
    "limit": ["", "0", "-1", "1.5", "x", "1000001", "1e3", "%201"],
    "sort": ["", "up", "ASC"],
    "source": ["", "ECB", "a b", "x" * 33],
    "basis": ["", "net", "RAW"],
    "format": ["", "xls", "JSON"],
    "page_token": ["", "x" * 12_001, "%FF", "AAAA"],
}
QUERIES = ["", "interval=1d", "symbols=ACME", "limit=0&sort=up&start=x&end=y&source=X&basis=z&interval=q"]
QUERIES += [f"{GOOD}&instrument_ids=1", f"{GOOD}&start=2024-02-01&end=2024-01-01", "&&=&", "interval"]
QUERIES += [f"{GOOD}&{name}={value}" for name, values in PARAMETERS.items() for value in values]
QUERIES += [f"{GOOD}&unknown=1&Limit=0", f"{GOOD}&limit=0&limit=2", f"{GOOD}&limit=2&limit=0"]
QUERIES += [
    "symbols=NOBODY&symbols=ACME&interval=x&interval=1d",
    "symbols=%41CME&interv%61l=1d",
    f"{GOOD};limit=0",
]
QUERIES += [f"{GOOD}&symbols=a%2Bb", f"{GOOD}&symbols=a+b", f"{GOOD}&limit=%2", f"{GOOD}&limit[]=3"]


@pytest.fixture
async def solver(app: FastAPI):
    """The same routes over the same services, served by FastAPI alone."""
    plain = FastAPI(redirect_slashes=False)
    plain.state = app.state
    plain.include_router(prices.router, prefix=PREFIX)
    plain.add_middleware(HeadAsGet)
    problems.install(plain)
    transport = httpx2.ASGITransport(app=plain, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://api.test") as api:
        yield api


def told(answer: httpx2.Response) -> tuple:
    """What an answer says, but for its request's id."""
    body = answer.content
    if answer.headers["content-type"] == "application/problem+json":
        body = answer.json() | {"request_id": ""}
    headers = [
        item for item in answer.headers.multi_items() if item[0] not in {"x-request-id", "content-length"}
    ]
    return answer.status_code, sorted(headers), body


@pytest.mark.parametrize("path", ["/prices", "/prices/latest"])
async def test_every_query_is_read_as_fastapi_reads_it(client, solver, path):
    await add_instrument(client)
    await store(client, days(3))
    seen = set()
    for query in QUERIES:
        direct = await client.get(f"{PREFIX}{path}?{query}")
        solved = await solver.get(f"{PREFIX}{path}?{query}")
        assert told(direct) == told(solved), query[:100]
        assert direct.status_code < 500, query[:100]
        seen.add(direct.status_code)
    assert {200, 404, 422} <= seen


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("symbols=ACME", ["interval"]),
        (f"{GOOD}&limit=0", ["limit"]),
        (f"{GOOD}&limit=", ["limit"]),
        (f"{GOOD}&sort=up&limit=x", ["limit", "sort"]),
        (f"{GOOD}&start=x&end=y", ["end", "start"]),
        (f"{GOOD}&source=X", ["source"]),
        (f"{GOOD}&basis=net", ["basis"]),
        (f"{GOOD}&format=xls", ["format"]),
        ("symbols=&interval=1d", ["symbols"]),
        ("symbols=caf%C3%A9&interval=1d", ["symbols"]),
        ("instrument_ids=x&interval=1d", ["instrument_ids"]),
        ("interval=1d", ["symbols"]),
        (f"{GOOD}&start=2024-02-01&end=2024-01-01", ["end"]),
    ],
)
async def test_each_bad_parameter_is_named(client, query, fields):
    body = assert_problem(await client.get(f"{PATH}?{query}"), 422)
    assert sorted(error["field"] for error in body["errors"]) == fields


async def test_of_a_repeated_parameter_the_last_counts(client):
    await add_instrument(client)
    await store(client, days(3))
    for query, count in (("limit=0&limit=2", 2), ("limit=2&limit=3", 3), ("unknown=1&Limit=0", 3)):
        answer = await client.get(f"{PATH}?{GOOD}&{query}")
        assert len(answer.json()["data"]) == count
    assert_problem(await client.get(f"{PATH}?{GOOD}&limit=2&limit=0"), 422, "limit")


async def test_percent_encoded_text_is_read(client):
    await add_instrument(client, "A+B&C=D")
    await store(client, days(1), symbol="A+B&C=D")
    answer = await client.get(f"{PATH}?symbols=A%2BB%26C%3DD&int%65rval=1d")
    assert answer.json()["data"][0]["symbol"] == "A+B&C=D"
    unknown = assert_problem(await client.get(f"{PATH}?symbols=%41%20x&interval=1d"), 404, "symbols")
    assert "A x" in unknown["detail"]


@pytest.mark.parametrize(
    ("when", "bound"),
    [
        ("start", "0001-01-01"),
        ("end", "0001-01-01"),
        ("start", "9999-12-31"),
        ("end", "9999-12-31T23:59:59.999999Z"),
    ],
)
async def test_the_ends_of_time_are_bounds_too(client, when, bound):
    number = await add_instrument(client)
    await store(client, days(3))
    everything = (when == "start") == bound.startswith("0001")
    for sort in ("asc", "desc"):
        answer = await client.get(f"{PATH}?{GOOD}&{when}={bound}&sort={sort}")
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["data"]) == (3 if everything else 0)
    params = {"interval": "1d", "source": "api", when: bound}
    gone = await client.delete(f"{PREFIX}/instruments/{number}/prices", params=params)
    assert gone.json() == {"deleted": 3 if everything else 0}


@pytest.mark.parametrize(("path", "allowed"), [(PATH, "GET, HEAD, POST"), (f"{PATH}/latest", "GET, HEAD")])
async def test_other_methods_are_refused_by_name(client, path, allowed):
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS"):
        answer = await client.request(method, path)
        assert allowed in assert_problem(answer, 405)["detail"]
        assert answer.headers["allow"] == allowed


async def test_head_is_served_and_slashes_are_not_forgiven(client):
    await add_instrument(client)
    for path in (PATH, f"{PATH}/latest"):
        head = await client.head(f"{path}?{GOOD}")
        assert (head.status_code, head.content) == (200, b"")
        assert (await client.head(path)).status_code == 422
        assert_problem(await client.get(f"{path}/?{GOOD}"), 404)


async def test_the_prefix_is_the_one_that_was_set(settings):
    app = create_app(settings.model_copy(update={"api_prefix": "/md/v9"}))
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://api.test") as client,
    ):
        for path in ("/prices", "/prices/latest"):
            assert_problem(await client.get(f"/md/v9{path}?{GOOD}"), 404, "symbols")
            nothing = assert_problem(await client.get(f"{PREFIX}{path}?{GOOD}"), 404)
            assert nothing["errors"] == []
        assert_problem(await client.put("/md/v9/prices"), 405)
        assert "/md/v9/prices/latest" in (await client.get("/openapi.json")).json()["paths"]
