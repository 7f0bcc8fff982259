"""The catalogue over HTTP."""

import pytest

from tests.support.api import INSTRUMENT, PREFIX, add_instrument, assert_problem, days, prices, store

PATH = f"{PREFIX}/instruments"


async def test_created_read_and_located(client):
    given = INSTRUMENT | {
        "name": "Acme Inc.",
        "isin": "US0378331005",
        "figi": "BBG000B9XRY4",
        "timezone": "America/New_York",
    }
    created = await client.post(PATH, json=given)
    assert created.status_code == 201
    body = created.json()
    assert created.headers["location"] == f"{PATH}/{body['id']}"
    stamps = {name: body.pop(name) for name in ("created_at", "updated_at")}
    assert body == given | {"id": 1, "active": True}
    assert all(stamp.endswith("Z") for stamp in stamps.values())
    read = await client.get(created.headers["location"])
    assert read.status_code == 200
    assert read.json() == created.json()


async def test_defaults(client):
    body = (await client.post(PATH, json=INSTRUMENT)).json()
    absent = {name: body[name] for name in ("name", "isin", "figi")}
    assert absent == {"name": None, "isin": None, "figi": None}
    assert (body["timezone"], body["active"]) == ("UTC", True)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("symbol", "A B"),
        ("symbol", "A,B"),
        ("symbol", ""),
        ("symbol", "A" * 33),
        ("symbol", "Ä"),
        ("symbol", None),
        ("exchange", "X Y"),
        ("exchange", "X" * 17),
        ("asset_class", "stock"),
        ("currency", "usd"),
        ("currency", "U"),
        ("name", ""),
        ("name", "a\x00b"),
        ("name", "x" * 201),
        ("isin", "US0378331006"),
        ("isin", "us0378331005"),
        ("figi", "AAG000B9XRY4"),
        ("timezone", "Mars/Olympus"),
        ("active", "perhaps"),
        ("colour", "red"),
    ],
)
async def test_each_wrong_field_is_named(client, field, value):
    assert_problem(await client.post(PATH, json=INSTRUMENT | {field: value}), 422, field)
    assert (await client.get(PATH)).json() == {"data": [], "next_page_token": None}


async def test_what_must_be_given(client):
    body = assert_problem(await client.post(PATH, json={}), 422)
    assert [error["field"] for error in body["errors"]] == ["symbol", "exchange", "asset_class", "currency"]


async def test_an_active_symbol_is_taken(client):
    first = await add_instrument(client)
    body = assert_problem(await client.post(PATH, json=INSTRUMENT), 409, "symbol")
    assert "XNAS:ACME" in body["detail"]
    elsewhere = await add_instrument(client, exchange="XNYS")
    retired = await add_instrument(client, active=False)
    assert len({first, elsewhere, retired}) == 3
    assert_problem(await client.patch(f"{PATH}/{retired}", json={"active": True}), 409, "symbol")
    assert_problem(await client.patch(f"{PATH}/{elsewhere}", json={"exchange": "XNAS"}), 409, "symbol")
    await client.patch(f"{PATH}/{first}", json={"active": False})
    assert (await client.patch(f"{PATH}/{retired}", json={"active": True})).status_code == 200


async def test_merge_patch_changes_what_it_names(client):
    number = await add_instrument(client, name="Acme", isin="US0378331005")
    before = (await client.get(f"{PATH}/{number}")).json()
    after = (await client.patch(f"{PATH}/{number}", json={"name": None, "timezone": "Europe/Madrid"})).json()
    assert after.pop("updated_at") > before.pop("updated_at")
    assert after == before | {"name": None, "timezone": "Europe/Madrid"}
    same = await client.patch(f"{PATH}/{number}", json={})
    assert same.status_code == 200
    again = await client.patch(f"{PATH}/{number}", json={"timezone": "Europe/Madrid"})
    assert again.json() == same.json()


async def test_a_patch_is_also_read_as_merge_patch_json(client):
    number = await add_instrument(client)
    headers = {"Content-Type": "application/merge-patch+json"}
    answer = await client.patch(f"{PATH}/{number}", content=b'{"name": "Acme"}', headers=headers)
    assert answer.status_code == 200
    assert answer.json()["name"] == "Acme"


@pytest.mark.parametrize("field", ["symbol", "exchange", "asset_class", "currency", "timezone", "active"])
async def test_what_every_instrument_has_cannot_be_emptied(client, field):
    number = await add_instrument(client)
    assert_problem(await client.patch(f"{PATH}/{number}", json={field: None}), 422, field)


@pytest.mark.parametrize(
    "change", [{"symbol": "NEW"}, {"exchange": "XNYS"}, {"currency": "EUR"}, {"asset_class": "etf"}]
)
async def test_identity_is_fixed_while_there_are_bars(client, change):
    number = await add_instrument(client)
    (field,) = change
    await store(client, days(2))
    body = assert_problem(await client.patch(f"{PATH}/{number}", json=change), 409)
    assert field in body["detail"]
    kept = await client.patch(f"{PATH}/{number}", json={field: INSTRUMENT[field], "name": "Acme"})
    assert kept.status_code == 200
    gone = await client.delete(f"{PATH}/{number}/prices", params={"interval": "1d", "source": "api"})
    assert gone.json() == {"deleted": 2}
    changed = await client.patch(f"{PATH}/{number}", json=change)
    assert changed.status_code == 200
    assert changed.json()[field] == change[field]


async def test_deletion_asks_for_cascade_when_there_are_bars(client):
    kept = await add_instrument(client, "OTHER")
    number = await add_instrument(client)
    await store(client, days(2))
    await store(client, days(1), source="file", interval="1h")
    await store(client, days(1), symbol="OTHER")
    body = assert_problem(await client.delete(f"{PATH}/{number}"), 409)
    assert "cascade=true" in body["detail"]
    assert "3 bars" in body["detail"]
    gone = await client.delete(f"{PATH}/{number}", params={"cascade": "true"})
    assert (gone.status_code, gone.content) == (204, b"")
    assert_problem(await client.get(f"{PATH}/{number}"), 404, "instrument_id")
    assert_problem(await client.delete(f"{PATH}/{number}"), 404, "instrument_id")
    left = (await client.get(f"{PREFIX}/series")).json()["data"]
    assert [one["instrument_id"] for one in left] == [kept]
    assert len((await client.get(f"{PREFIX}/ingestions")).json()["data"]) == 3
    assert (await prices(client, symbols="OTHER"))["symbols"]["OTHER"]["count"] == 1


async def test_deletion_without_bars_and_ids_are_not_used_again(client):
    number = await add_instrument(client)
    assert (await client.delete(f"{PATH}/{number}")).status_code == 204
    assert await add_instrument(client) == number + 1


@pytest.mark.parametrize("method", ["get", "patch", "delete"])
async def test_unknown_and_impossible_ids(client, method):
    body = {"json": {"name": "x"}} if method == "patch" else {}
    assert_problem(await getattr(client, method)(f"{PATH}/99", **body), 404, "instrument_id")
    for wrong in ("0", "-1", "2147483648", "x", "1.5"):
        assert_problem(await getattr(client, method)(f"{PATH}/{wrong}", **body), 422, "instrument_id")


@pytest.fixture
async def catalogue(client):
    listed = [
        ("BBB", {"name": "Beta 100%"}),
        ("AAA", {"name": "Alpha"}),
        ("AAA", {"exchange": "XNYS", "currency": "EUR"}),
        ("CCC", {"asset_class": "etf", "active": False}),
        ("A_A", {"name": "under_score"}),
    ]
    for symbol, values in listed:
        await add_instrument(client, symbol, **values)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"q": "aa"}, [2, 3]),
        ({"q": "alpha"}, [2]),
        ({"q": "100%"}, [1]),
        ({"q": "%"}, [1]),
        ({"q": "_"}, [5]),
        ({"q": "nothing"}, []),
        ({"asset_class": "etf"}, [4]),
        ({"exchange": "XNYS"}, [3]),
        ({"currency": "EUR"}, [3]),
        ({"active": "false"}, [4]),
        ({"active": "true", "exchange": "XNAS", "q": "B"}, [1]),
    ],
)
async def test_filters(client, catalogue, query, expected):
    found = (await client.get(PATH, params=query)).json()
    assert sorted(one["id"] for one in found["data"]) == expected
    assert found["next_page_token"] is None


async def test_pages_in_order_of_symbol(client, catalogue):
    whole = (await client.get(PATH)).json()["data"]
    symbols = [one["symbol"] for one in whole if "_" not in one["symbol"]]
    assert symbols == ["AAA", "AAA", "BBB", "CCC"]
    for limit in (1, 2, 3, 5):
        found, token = [], None
        while True:
            query = {"limit": limit} | ({"page_token": token} if token else {})
            page = (await client.get(PATH, params=query)).json()
            found += page["data"]
            token = page["next_page_token"]
            if token is None:
                break
            assert len(page["data"]) == limit
        assert found == whole


async def test_a_token_belongs_to_its_query(client, catalogue):
    page = (await client.get(PATH, params={"limit": 1, "exchange": "XNAS"})).json()
    token = page["next_page_token"]
    more = await client.get(PATH, params={"limit": 3, "exchange": "XNAS", "page_token": token})
    assert more.status_code == 200
    for other in ({"exchange": "XNYS"}, {}, {"exchange": "XNAS", "q": "A"}):
        query = other | {"page_token": token}
        assert_problem(await client.get(PATH, params=query), 400, "page_token")


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", ""])
async def test_limits(client, limit):
    assert_problem(await client.get(PATH, params={"limit": limit}), 422, "limit")


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 422),
        (b"[]", 422),
        (b"null", 422),
        (b"", 422),
        (b'{"symbol": "\xff"}', 400),
        (b"[" * 100_000, 400),
    ],
)
async def test_bodies_that_are_no_object(client, content, status):
    headers = {"Content-Type": "application/json"}
    answer = await client.post(PATH, content=content, headers=headers)
    assert_problem(answer, status, "body")


async def test_a_body_of_another_type_is_refused(client):
    answer = await client.post(PATH, content=b"symbol=A", headers={"Content-Type": "text/plain"})
    assert_problem(answer, 422, "body")
