"""`market-data coverage`, `gaps`, `repair` and `calendars`."""

import asyncio

import pytest
from sqlalchemy import text

from market_data.cli import coverage as module
from market_data.cli import coverage_map
from market_data.core.exceptions import ProviderUnavailable
from market_data.core.vocabulary import CoverageState
from market_data.db.session import Database
from market_data.schemas.coverage import StretchRead
from market_data.services.gaps import GapService
from tests.support.command import invoke
from tests.support.fake import CRYPTO, Fake, page

# The command line calls the same services as the API, whose tests ask every home.
pytestmark = pytest.mark.one_home

BARS = "Date,Open,High,Low,Close,Volume\n" + "\n".join(
    f"{day},10,10,10,10,100" for day in ("2023-12-29", "2024-01-02", "2024-01-04", "2024-03-28", "2024-04-01")
)
LEGEND = "█ present   ▒ partly   ○ missing   ! failed   ─ no trade   … not yet\n"


@pytest.fixture
def acme(here):
    """Five days of two years; the exchange had 21 sessions in January 2024, 20 in February, 20 in March."""
    added = ["--exchange", "XNAS", "--asset-class", "equity", "--currency", "USD"]
    assert invoke("instruments", "add", "ACME", *added).code == 0
    assert invoke("import", "-", "--symbol", "ACME", "--interval", "1d", stdin=BARS.encode()).code == 0
    return here


def test_a_map_of_years(acme):
    """1 April 2024 is a Monday after Good Friday: nothing is missing between it and 28 March."""
    outcome = invoke("coverage")
    assert outcome.code == 0
    assert outcome.out == (
        "XNAS:ACME  1d  file  raw  (calendar XNYS)\n"
        "      JFMAMJJASOND\n"
        "2023             █\n"
        "2024  ▒○▒█        \n"
        "      5 present, 58 missing\n"
        "\n" + LEGEND
    )


def test_a_map_by_weeks_and_of_a_window(acme):
    outcome = invoke("coverage", "ACME", "--weeks", "--start", "2024-01-01", "--end", "2024-01-20")
    weeks = "▒○○" + " " * 49
    assert f"2024  {weeks}\n      2 present, 11 missing\n" in outcome.out
    assert invoke("coverage", "NOPE").code == 2
    assert invoke("coverage", "--start", "2024-01-02", "--end", "2024-01-01").code == 2
    assert invoke("coverage", "--interval", "1h").out == LEGEND
    (found,) = invoke("coverage", "ACME", "--source", "file", "--json").json()
    assert (found["symbol"], found["counts"]["present"], found["counts"]["missing"]) == ("ACME", 5, 58)


def stretch(state: str, start: str, end: str) -> StretchRead:
    return StretchRead.model_validate({"state": state, "start": start, "end": end, "bars": 1})


@pytest.mark.parametrize(
    ("states", "shown"),
    [
        ([], " "),
        (["present"], "█"),
        (["present", "no_trade"], "█"),
        (["present", "not_yet"], "█"),
        (["present", "missing"], "▒"),
        (["present", "failed"], "▒"),
        (["missing"], "○"),
        (["missing", "no_trade"], "○"),
        (["missing", "failed"], "!"),
        (["failed"], "!"),
        (["no_trade"], "─"),
        (["not_yet"], "…"),
        (["no_trade", "not_yet"], "─"),
    ],
)
def test_what_a_month_is_shown_as(states, shown):
    found = [stretch(state, "2024-02-01T00:00:00Z", "2024-02-02T00:00:00Z") for state in states]
    found.append(stretch("present", "2024-12-01T00:00:00Z", "2025-01-01T00:00:00Z"))
    ((year, cells),) = coverage_map.rows_of(found, weeks=False)
    assert (year, coverage_map._SHAPES[cells[1]][0]) == (2024, shown)


def test_a_series_of_which_nothing_is_known_has_no_rows():
    assert list(coverage_map.rows_of([], weeks=False)) == []
    assert set(CoverageState) < set(coverage_map._SHAPES)


def test_gaps(acme):
    rows = invoke("gaps", "ACME", "--json").json()
    assert [(one["start"], one["end"], one["bars"]) for one in rows[:3]] == [
        ("2024-01-03T00:00:00Z", "2024-01-04T00:00:00Z", 1),
        ("2024-01-05T00:00:00Z", "2024-03-28T00:00:00Z", 57),  # weekends do not divide it
    ]
    assert sum(one["bars"] for one in rows) == 58
    shown = invoke("gaps", "--interval", "1d", "--source", "file", "--end", "2024-01-04").out
    assert ("missing" in shown, "2024-01-03T00:00:00Z" in shown) == (True, True)
    assert invoke("gaps", "--start", "2024-03-28").out.count("ACME") == 0


@pytest.fixture
def crypto(here, database):
    """BTCUSDT of binance from 1 to 4 January 2024 without the 3rd; its provider answers what a test says."""
    fake = Fake("binance")
    here.setattr(
        module, "GapService", lambda database, alive: GapService(database, alive, open_client=fake.open)
    )
    added = ["--exchange", "BINANCE", "--asset-class", "crypto", "--currency", "USDT"]
    assert invoke("instruments", "add", "BTCUSDT", *added).code == 0
    bars = "Date,Open,High,Low,Close\n" + "\n".join(f"2024-01-0{day},1,1,1,1" for day in (1, 2, 4))
    given = ["--symbol", "BTCUSDT", "--interval", "1d", "--source", "binance"]
    assert invoke("import", "-", *given, stdin=bars.encode()).code == 0
    asyncio.run(know(database.url, "binance", "BTCUSDT"))
    return fake


async def know(url: str, provider: str, symbol: str) -> None:
    """Let it be known what a provider calls instrument 1."""
    database = Database(url)
    async with database.engine.begin() as connection:
        await connection.execute(
            text("INSERT INTO provider_symbol (provider, symbol, instrument_id) VALUES (:p, :s, 1)"),
            {"p": provider, "s": symbol},
        )
    await database.close()


def test_repair_here_and_now(crypto):
    crypto.answers["BTCUSDT"] = [page({"2024-01-03": 3.0}, CRYPTO)]
    outcome = invoke("repair", "BTCUSDT", "--json")
    assert outcome.err == "BTCUSDT 1d binance (1 of 1): 1 gaps, 1 bars\n"
    assert outcome.json() == [
        {
            "series_id": 1,
            "symbol": "BTCUSDT",
            "exchange": "BINANCE",
            "interval": "1d",
            "source": "binance",
            "missing": 1,
            "stored": 1,
            "still_missing": 0,
            "run": 2,
            "error": None,
        }
    ]
    again = invoke("repair", "BTCUSDT", "--interval", "1d", "--source", "binance")
    assert again.out.split()[-8:] == ["BTCUSDT", "1d", "binance", "0", "0", "0", "-", "-"]


def test_what_the_source_does_not_have_is_no_gap_any_more(crypto):
    crypto.answers["BTCUSDT"] = [page({}, CRYPTO)]
    (found,) = invoke("repair", "BTCUSDT", "--json").json()
    assert (found["missing"], found["stored"], found["still_missing"]) == (1, 0, 0)
    assert "4 present" not in invoke("coverage").out
    assert "3 present, 1 no trade" in invoke("coverage").out


def test_a_repair_that_fails(crypto):
    crypto.answers["BTCUSDT"] = [ProviderUnavailable("binance", "no answer")]
    outcome = invoke("repair", "BTCUSDT")
    assert (outcome.code, outcome.complaint) == (1, "error: BTCUSDT 1d binance: binance: no answer")


def test_gaps_are_asked_elsewhere(crypto, here, database):
    outcome = invoke("repair", "BTCUSDT", "--provider", "bitstamp")
    assert (outcome.code, "nobody knows what bitstamp calls" in outcome.complaint) == (1, True)
    asyncio.run(know(database.url, "bitstamp", "XBTUSDT"))
    bitstamp = Fake("bitstamp")
    bitstamp.answers["XBTUSDT"] = [page({"2024-01-03": 3.0}, CRYPTO)]
    here.setattr(
        module, "GapService", lambda database, alive: GapService(database, alive, open_client=bitstamp.open)
    )
    (found,) = invoke("repair", "BTCUSDT", "--provider", "Bitstamp", "--json").json()
    assert (found["source"], found["stored"], found["still_missing"], found["error"]) == (
        "binance",
        1,
        1,
        None,
    )
    assert [(one["source"], one["count"]) for one in invoke("series", "--json").json()] == [
        ("binance", 3),
        ("bitstamp", 1),
    ]
    bitstamp.answers["XBTUSDT"] = [ProviderUnavailable("bitstamp", "no answer")]
    outcome = invoke("repair", "BTCUSDT", "--provider", "bitstamp", "--source", "binance")
    assert (outcome.code, "bitstamp: no answer" in outcome.complaint) == (1, True)


def test_where_nothing_is_missing_nobody_is_asked_elsewhere(crypto, database):
    asyncio.run(know(database.url, "bitstamp", "XBTUSDT"))
    crypto.answers["BTCUSDT"] = [page({"2024-01-03": 3.0}, CRYPTO)]
    assert invoke("repair", "BTCUSDT").code == 0
    (found,) = invoke("repair", "BTCUSDT", "--provider", "bitstamp", "--json").json()
    assert (found["missing"], found["run"], found["error"]) == (0, None, None)
    assert invoke("repair", "BTCUSDT", "--provider", "bitstamp", "--queue", "--json").json() == []


def test_repair_through_the_queue(crypto):
    outcome = invoke("repair", "BTCUSDT", "--queue")
    (job,) = invoke("jobs", "--json").json()
    assert outcome.out == f"job {job['id']} is queued; follow it: market-data jobs watch {job['id']}\n"
    assert job["parameters"] == {"series_id": 1}
    assert [one["id"] for one in invoke("repair", "BTCUSDT", "--queue", "--json").json()] == [job["id"]]
    assert crypto.asked == []


def test_what_cannot_be_repaired(acme):
    for wrong, told in (
        (["ACME"], "came from no provider"),
        (["NOPE"], "no instrument known as NOPE"),
        (["ACME", "--interval", "1h"], "nothing like that is stored"),
        (["ACME", "--provider", "nobody"], "no provider 'nobody'"),
        (["ACME", "--source", "A B"], "source: "),
    ):
        outcome = invoke("repair", *wrong)
        assert (outcome.code, told in outcome.complaint) == (2, True), outcome


def test_calendars(acme):
    names = {one["name"] for one in invoke("calendars", "--json").json()}
    assert {"24/7", "weekdays", "XNYS"} <= names
    assert "XNYS" in invoke("calendars").out
    closed = invoke("calendars", "override", "XNYS", "2024-01-03", "--closed", "--note", "snow")
    assert (closed.code, "snow" in closed.out) == (0, True)
    hours = ["--opens", "2024-01-05T14:30:00Z", "--closes", "2024-01-05T18:00:00Z"]
    short = invoke("calendars", "override", "XNYS", "2024-01-05", *hours, "--json").json()
    assert (short["day"], short["closes_at"], short["note"]) == ("2024-01-05", "2024-01-05T18:00:00Z", None)
    assert [one["day"] for one in invoke("calendars", "XNYS", "--json").json()] == [
        "2024-01-03",
        "2024-01-05",
    ]
    assert "snow" in invoke("calendars", "list", "XNYS").out
    assert invoke("gaps", "ACME", "--end", "2024-01-05", "--json").json() == []
    back = invoke("calendars", "override", "XNYS", "2024-01-03", "--remove")
    assert back.out == "2024-01-03 of XNYS is again as the calendar has it\n"
    assert (
        invoke("calendars", "override", "XNYS", "2024-01-05", "--remove", "--json").json()["removed"] is True
    )
    for wrong in (
        ["XNYS", "2024-01-03", "--remove"],
        ["XNYS", "2024-01-03"],
        ["XNYS", "2024-01-03", "--closed", "--remove"],
        ["XNYS", "someday", "--closed"],
        ["NOPE", "2024-01-03", "--closed"],
        ["XNYS", "2024-01-03", "--opens", "2024-01-03T14:30:00Z"],
    ):
        assert invoke("calendars", "override", *wrong).code == 2, wrong
    assert invoke("calendars", "NOPE").code == 2
