"""Intervals that are not stored: made of finer ones when asked for, equal to what SQL makes of the rows."""

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from market_data.core import clock
from market_data.core.interval import Basis, Interval
from market_data.services.sealing import SealingService
from tests.support.api import PREFIX, add_instrument, row, store
from tests.support.bars import fetch

PATH = f"{PREFIX}/prices"
MIDNIGHT = datetime(2024, 3, 30, tzinfo=UTC)
"""Before the night in which Europe's clocks go forward, and two days before a month ends within a week."""
LATER = datetime(2100, 1, 1, tzinfo=UTC)
RECOMPUTED = """
    SELECT s.start AS ts, (array_agg(p.open ORDER BY p.ts))[1] AS open, max(p.high) AS high,
        min(p.low) AS low, (array_agg(p.close ORDER BY p.ts DESC))[1] AS close, sum(p.volume) AS volume
    FROM v_price p CROSS JOIN LATERAL (SELECT
        CASE WHEN :unit = '' THEN date_bin(CAST(:step AS interval), p.ts, '1970-01-01+00')
             ELSE date_trunc(:unit, p.ts, 'UTC') END) AS s(start)
    WHERE p.symbol = :symbol AND p.interval = :base AND p.source = :source
    GROUP BY s.start ORDER BY s.start
    """
STEPS = {"5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240, "1d": 1440}
UNITS = {"1w": "week", "1mo": "month"}


@pytest.fixture(autouse=True)
def later(monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: LATER)


def at(minute: float) -> str:
    return (MIDNIGHT + timedelta(minutes=minute)).isoformat().replace("+00:00", "Z")


def minute_bar(minute: int, first: float = 10.0, last: float = 11.0, volume: float | None = 1.0) -> dict:
    high, low = max(first, last) + 1, min(first, last) - 1
    return row(at(minute), last, volume) | {"open": first, "high": high, "low": low}


async def ask(client, interval, symbols="BTC", path=PATH, **params):
    wanted = {"symbols": symbols, "interval": interval} | params
    answer = await client.get(path, params={n: v for n, v in wanted.items() if v is not None})
    assert answer.status_code == 200, answer.text
    return answer


async def recomputed(database, interval, symbol="BTC", base="1m", source="api") -> list[tuple]:
    values = {
        "unit": UNITS.get(interval, ""),
        "step": timedelta(minutes=STEPS.get(interval, 1)),
        "symbol": symbol,
    }
    return await fetch(database, RECOMPUTED, base=base, source=source, **values)


def assert_equal(data: list[dict], wanted: list[tuple]) -> None:
    found = [
        (datetime.fromisoformat(r["ts"]), r["open"], r["high"], r["low"], r["close"], r["volume"])
        for r in data
    ]
    assert [one[:5] for one in found] == [one[:5] for one in wanted]
    volumes = [[float("nan") if one[5] is None else one[5] for one in side] for side in (found, wanted)]
    assert volumes[0] == pytest.approx(volumes[1], rel=1e-12, abs=0, nan_ok=True)


@pytest.fixture
async def bitcoin(client) -> int:
    return await add_instrument(client, "BTC", exchange="BINANCE", asset_class="crypto")


NUMBERS = count()
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["write", "write", "delete"]),
        st.integers(0, 4 * 1440),
        st.integers(1, 40),
        st.integers(100, 999),
        st.none() | st.integers(0, 10**9).map(lambda n: n / 1000),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CHANGES, st.booleans())
async def test_made_bars_are_those_of_the_rows_after_any_changes(client, database, changes, sealed):
    symbol = f"B{next(NUMBERS)}"
    number = await add_instrument(client, symbol, exchange="X", asset_class="crypto")
    for kind, first, many, price, volume in changes:
        if kind == "write":
            bars = [minute_bar(first + n * 3, price + n, price - n / 4, volume) for n in range(many)]
            await store(client, bars, symbol=symbol, interval="1m")
        else:
            span = {"start": at(first), "end": at(first + many * 3)}
            query = {"interval": "1m", "source": "api"} | span
            await client.delete(f"{PREFIX}/instruments/{number}/prices", params=query)
        if sealed:
            await SealingService(database).seal()
        for interval in (*STEPS, *UNITS):
            wanted = await recomputed(database, interval, symbol)
            answer = (await ask(client, interval, symbol, limit=5000)).json()
            assert_equal(answer["data"], wanted)
            assert answer["symbols"][symbol]["derived_from"] == ("1m" if wanted else None)
            newest = (await ask(client, interval, symbol, f"{PATH}/latest")).json()["data"]
            assert_equal(newest, wanted[-1:])


async def test_every_format_and_page_tells_the_same(client, bitcoin, database):
    bars = [minute_bar(n * 2, 10 + n % 7, 12 + n % 5, None if n % 50 < 30 else 0.1) for n in range(700)]
    await store(client, bars, symbol="BTC", interval="1m")
    wanted = await recomputed(database, "15m")
    lines = (await ask(client, "15m", format="csv")).text.splitlines()
    assert len(lines) == len(wanted) + 1
    for sort in ("asc", "desc"):
        whole = (await ask(client, "15m", sort=sort, limit=5000)).json()["data"]
        assert_equal(whole, wanted if sort == "asc" else wanted[::-1])
        pages, token = [], None
        while True:
            answer = (await ask(client, "15m", sort=sort, limit=7, page_token=token)).json()
            assert answer["symbols"]["BTC"]["derived_from"] == "1m"
            pages += answer["data"]
            token = answer["next_page_token"]
            if token is None:
                break
            assert len(answer["data"]) == 7
        assert pages == whole


async def test_ranges_are_those_of_the_bars_made(client, bitcoin):
    await store(client, [minute_bar(n) for n in range(180)], symbol="BTC", interval="1m")
    found = (await ask(client, "1h", start=at(1), end=at(61))).json()["data"]
    assert [one["ts"] for one in found] == [at(60)]
    assert found[0]["volume"] == 60


async def test_bars_that_are_not_over_are_not_told(client, bitcoin, monkeypatch):
    await store(client, [minute_bar(n) for n in range(100)], symbol="BTC", interval="1m")
    monkeypatch.setattr(clock, "now", lambda: MIDNIGHT + timedelta(minutes=100))
    first = await ask(client, "1h")
    assert [one["ts"] for one in first.json()["data"]] == [at(0)]
    assert (await ask(client, "1h", path=f"{PATH}/latest")).json()["data"] == first.json()["data"]
    assert "last-modified" not in first.headers
    again = await client.get(
        PATH, params={"symbols": "BTC", "interval": "1h"}, headers={"If-None-Match": first.headers["etag"]}
    )
    assert again.status_code == 304
    monkeypatch.setattr(clock, "now", lambda: MIDNIGHT + timedelta(minutes=120))
    second = await ask(client, "1h")
    assert [one["ts"] for one in second.json()["data"]] == [at(0), at(60)]
    assert second.headers["etag"] != first.headers["etag"]


async def test_tags_follow_the_base_where_it_was_asked(client, bitcoin):
    await store(client, [minute_bar(n) for n in range(3000)], symbol="BTC", interval="1m")
    range_ = {"start": at(0), "end": at(60)}
    first = await ask(client, "1h", **range_)
    assert "last-modified" in first.headers
    await store(client, [minute_bar(2999, 50.0)], symbol="BTC", interval="1m")
    assert (await ask(client, "1h", **range_)).headers["etag"] == first.headers["etag"]
    await store(client, [minute_bar(59, 50.0)], symbol="BTC", interval="1m")
    changed = await ask(client, "1h", **range_)
    assert changed.headers["etag"] != first.headers["etag"]
    assert changed.json()["data"][0]["high"] == 51.0


async def test_stored_bars_win_for_a_whole_series(client, bitcoin):
    await store(client, [minute_bar(n) for n in range(180)], symbol="BTC", interval="1m")
    await store(client, [minute_bar(60, 99.0)], symbol="BTC", interval="1h", source="other")
    found = (await ask(client, "1h")).json()
    assert (found["symbols"]["BTC"]["source"], found["symbols"]["BTC"]["derived_from"]) == ("other", None)
    assert [one["ts"] for one in found["data"]] == [at(60)]
    found = (await ask(client, "1h", source="api")).json()
    assert (found["symbols"]["BTC"]["source"], found["symbols"]["BTC"]["derived_from"]) == ("api", "1m")
    assert len(found["data"]) == 3
    assert (await ask(client, "1h", source="nobody")).json()["symbols"]["BTC"]["status"] == "empty"


async def test_the_finest_base_of_one_source_is_used(client, bitcoin):
    await store(client, [minute_bar(0, 70.0)], symbol="BTC", interval="5m")
    await store(client, [minute_bar(1)], symbol="BTC", interval="1m")
    await store(client, [minute_bar(2, 80.0)], symbol="BTC", interval="1m", source="zeta")
    found = (await ask(client, "15m")).json()
    assert (found["symbols"]["BTC"]["source"], found["symbols"]["BTC"]["derived_from"]) == ("api", "1m")
    assert [one["open"] for one in found["data"]] == [10.0]


async def test_days_of_a_session_are_not_made_of_minutes(client):
    await add_instrument(client)
    await store(client, [minute_bar(n) for n in range(180)], interval="1m")
    found = (await ask(client, "1d", "ACME")).json()
    assert found["symbols"]["ACME"]["status"] == "empty"
    assert (await ask(client, "1h", "ACME")).json()["symbols"]["ACME"]["count"] == 3


async def test_bars_off_the_grid_make_none(client, database):
    number = await add_instrument(client)
    async with database.session() as session:
        from market_data.repositories.market_price_writer import BarWriter, SeriesKey
        from tests.support.bars import bars

        key = SeriesKey(number, Interval.M30, "api", Basis.RAW)
        await BarWriter(session).upsert({key: bars({MIDNIGHT + timedelta(minutes=45): 1.0})}, 1)
    assert (await ask(client, "1h", "ACME")).json()["symbols"]["ACME"]["status"] == "empty"


async def test_stored_and_made_bars_in_one_answer(client, bitcoin):
    await store(client, [minute_bar(n) for n in range(180)], symbol="BTC", interval="1m")
    for symbol, interval in (("ETH", "1h"), ("LTC", "5m")):
        await add_instrument(client, symbol, exchange="BINANCE", asset_class="crypto")
        bars = [minute_bar(n * 60, 20.0) for n in range(3)]
        await store(client, bars, symbol=symbol, interval=interval)
    together = "ETH,BTC,LTC,BTC2"
    whole = (await ask(client, "1h", together)).json()
    assert [one["symbol"] for one in whole["data"]] == ["ETH"] * 3 + ["BTC"] * 3 + ["LTC"] * 3
    bases = {symbol: info["derived_from"] for symbol, info in whole["symbols"].items()}
    assert bases == {"ETH": None, "BTC": "1m", "LTC": "5m", "BTC2": None}
    pages, token = [], None
    for _ in range(5):
        answer = (await ask(client, "1h", together, limit=2, page_token=token)).json()
        pages += answer["data"]
        token = answer["next_page_token"]
    assert (pages, token) == (whole["data"], None)
    newest = (await ask(client, "1h", together, f"{PATH}/latest")).json()["data"]
    assert [(one["symbol"], one["ts"]) for one in newest] == [(s, at(120)) for s in ("ETH", "BTC", "LTC")]


async def test_a_page_stays_with_its_base(client, bitcoin):
    await store(client, [minute_bar(n) for n in range(180)], symbol="BTC", interval="1m")
    first = (await ask(client, "1h", limit=1)).json()
    await store(client, [minute_bar(60, 99.0)], symbol="BTC", interval="1h")
    rest = (await ask(client, "1h", limit=5, page_token=first["next_page_token"])).json()
    assert [one["ts"] for one in rest["data"]] == [at(60), at(120)]
    assert rest["symbols"]["BTC"]["derived_from"] == "1m"
