"""Every query of every dashboard and alert, asked of real data by a login that may only read."""

import re
from datetime import timedelta

import pytest
from grafana.alerts import RULES
from grafana.query import Query

from tests.support.dashboards import MINUTES, QUOTED, STOCKS, asked, choose, variables, window
from tests.support.grafana import Choice, Dashboard, Window

TYPES = {
    "time": {"timestamptz"},
    "number": {"int4", "int8", "float8", "numeric"},
    "string": {"text"},
    "boolean": {"bool"},
}
QUERIES = list(asked())
each_query = pytest.mark.parametrize("one", QUERIES, ids=str)
AAPL = {"source": "bokeh_sampledata", "interval": "1d", "basis": "raw"}


async def instrument(grafana, symbol: str) -> str:
    return str(await grafana.fetchval("SELECT instrument_id FROM v_instrument WHERE symbol = $1", symbol))


async def opened(grafana, uid: str) -> Dashboard:
    """The dashboard with its defaults; Instrument shows a stock of the sample."""
    wanted = {"instrument": await instrument(grafana, "AAPL")} if uid.endswith("instrument") else {}
    return await choose(grafana, uid, **wanted)


async def rows_of(grafana, query: Query, dashboard: Dashboard) -> list:
    """Its rows, of the declared shape."""
    statement = await grafana.prepare(dashboard.expand(query.sql))
    found = {attribute.name: attribute.type.name for attribute in statement.get_attributes()}
    assert list(found) == list(query.shape)
    for name, kind in query.shape.items():
        epoch = name == "time" and "$__timeGroup" in query.sql  # seconds, which Grafana reads as a time too
        assert found[name] in (TYPES["number"] if epoch else TYPES[kind]), (name, found[name])
    return [tuple(row) for row in await statement.fetch()]


@each_query
async def test_a_panel_has_data_of_its_shape_in_the_sample(grafana, one):
    dashboard = await opened(grafana, one.dashboard)
    rows = await rows_of(grafana, one.query, dashboard)
    assert rows
    for place, (name, kind) in enumerate(one.query.shape.items()):
        if kind == "number" and "chunk" not in name and "compress" not in name and one.name != "Compression":
            assert any(row[place] is not None for row in rows), name
    if one.query.is_series:
        keys = [row[: 1 + ("metric" in one.query.shape)] for row in rows]
        assert keys == sorted(keys)
        assert len(set(keys)) == len(keys)


@each_query
async def test_a_panel_without_data_is_empty_and_no_error(grafana, one):
    before = Window(STOCKS.start - timedelta(days=36500), STOCKS.start - timedelta(days=36000))
    nothing = {
        name: Choice("", choice.multi)
        for name, choice in (await opened(grafana, one.dashboard)).choices.items()
    }
    if "window" in nothing:
        nothing["window"] = Choice("20")
    rows = await rows_of(grafana, one.query, Dashboard(before, nothing))
    assert one.query.is_series <= (rows == [])


@pytest.mark.parametrize("uid", sorted({one.dashboard for one in QUERIES}))
async def test_choices_follow_from_one_another(grafana, uid):
    dashboard = await opened(grafana, uid)
    assert list(dashboard.choices) == [one.name for one in variables(uid)]
    assert all(choice.value != "" for choice in dashboard.choices.values())


async def test_an_instrument_offers_what_it_has(grafana):
    uid = "market-data-instrument"
    aapl = await choose(grafana, uid, instrument=await instrument(grafana, "AAPL"))
    assert {name: aapl.choices[name].value for name in AAPL} == AAPL
    coin = await choose(grafana, uid, instrument=await instrument(grafana, "COIN"))
    assert (coin.choices["interval"].value, coin.choices["source"].value) == ("1m", "mine")


@pytest.mark.parametrize("one", [one for one in QUERIES if one.dashboard.endswith("instrument")], ids=str)
async def test_minutes_fill_the_instrument_dashboard_too(grafana, one):
    coin = await choose(grafana, one.dashboard, instrument=await instrument(grafana, "COIN"))
    minutes = Window(MINUTES + timedelta(hours=1), MINUTES + timedelta(hours=9), "5m")
    rows = await rows_of(grafana, one.query, Dashboard(minutes, coin.choices))
    assert len(rows) == (96 if one.query.is_series else 1)


async def test_rows_do_not_grow_with_the_bars(grafana):
    coin = await choose(grafana, "market-data-instrument", instrument=await instrument(grafana, "COIN"))
    wide = Dashboard(Window(MINUTES, MINUTES + timedelta(days=3), "6h"), coin.choices)
    for one in QUERIES:
        if one.dashboard.endswith("instrument") and one.query.is_series:
            assert len(await rows_of(grafana, one.query, wide)) == 9, one


HOSTILE = [
    QUOTED,
    "'; DROP TABLE instrument; --",
    "x') OR true --",
    "\\'; SELECT pg_sleep(100); --",
    "$$; SELECT 1; --",
]


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_what_is_chosen_is_a_value_whatever_it_holds(grafana, hostile):
    uid = "market-data-overview"
    dashboard = await opened(grafana, uid)
    chosen = dict(dashboard.choices) | {"symbol": Choice(["EURUSD", hostile], multi=True)}
    (prices,) = (one.query for one in QUERIES if one.name == "Last prices")
    rows = await rows_of(grafana, prices, Dashboard(window(uid), chosen))
    expected = {"EURUSD", hostile} if hostile == QUOTED else {"EURUSD"}
    assert {row[0] for row in rows} == expected
    chosen = dict(dashboard.choices) | {
        name: Choice([hostile], multi=True) for name in ("exchange", "asset_class")
    }
    chosen["interval"] = Choice(hostile)
    assert await rows_of(grafana, prices, Dashboard(window(uid), chosen)) == []


async def test_all_means_all(grafana):
    dashboard = await opened(grafana, "market-data-overview")
    assert dashboard.choices["symbol"].value is None
    (prices,) = (one.query for one in QUERIES if one.name == "Last prices")
    rows = await rows_of(grafana, prices, dashboard)
    assert len(rows) == await grafana.fetchval("SELECT count(*) FROM v_series WHERE interval = '1d'")


async def test_a_raw_series_says_so_and_an_adjusted_one_too(grafana):
    (basis,) = (one.query for one in QUERIES if one.name == "stat")
    for symbol, expected in (("AAPL", "raw"), (QUOTED, "split")):
        shown = await choose(grafana, "market-data-instrument", instrument=await instrument(grafana, symbol))
        assert await rows_of(grafana, basis, shown) == [(expected,)]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
async def test_an_alert_has_one_number_for_each_source(grafana, rule):
    assert "$" not in rule.sql
    rows = await rows_of(grafana, rule.query, Dashboard(STOCKS))
    assert len({source for source, _ in rows}) == len(rows) == 3
    values = dict(rows)
    assert values["bokeh_sampledata"] == 0  # inactive instruments are never stale
    fired = {source for source, value in rows if value > rule.above}
    expected = {"stale-series": {"ecb", "mine"}, "failing-runs": set(), "rejection-rate": set()}
    assert fired == expected[rule.name]


def test_macros_and_variables_are_all_known():
    known = {"__timeFrom", "__timeTo", "__timeFilter", "__timeGroupAlias", "__interval", "__interval_ms"}
    for one in QUERIES:
        names = {variable.name for variable in variables(one.dashboard)}
        used = set(re.findall(r"\$\{?(\w+)", one.query.sql))
        assert used <= known | names, one
