"""`market-data ingest` against a vendor's server on this machine, well-behaved and not."""

import json
import os
import re
import threading
from dataclasses import dataclass

import pytest

from market_data.etl import http
from tests.support.command import ended, invoke, run, start, until
from tests.support.provider_contract import PAYLOADS, content
from tests.support.vendor import Question, Reply, Vendor, serving


@dataclass(frozen=True)
class Case:
    """A recorded-format answer from the contract's payloads, and what may become of it."""

    provider: str
    prefix: str
    rows: int
    change: tuple[str, str]
    damage: tuple[str, str]
    options: tuple[str, ...] = ()
    unfinished: int = 0

    @property
    def payload(self) -> dict:
        return json.loads((PAYLOADS / f"{self.provider}.json").read_text(encoding="utf-8"))["cases"][0]

    @property
    def args(self) -> list[str]:
        wanted = self.payload["request"]
        span = [f"--{name}={wanted[name]}" for name in ("interval", "start", "end") if name in wanted]
        return ["ingest", self.provider, wanted["symbol"], *span, *self.options]

    def body(self, old: str = "", new: str = "") -> bytes:
        """Return the answer, with one text in it exchanged."""
        (answer,) = self.payload["answers"]
        text = json.dumps(answer)
        if old:
            assert json.dumps(old)[1:-1] in text
            text = text.replace(json.dumps(old)[1:-1], json.dumps(new)[1:-1], 1)
        return content(json.loads(text))


CASES = [
    Case(
        "alphavantage",
        "ALPHA_VANTAGE_",
        2,
        ("161.9999,", "162.0001,"),
        ("160.4501,", "n/a,"),
        ("--exchange", "XNYS"),
    ),
    Case("binance", "BINANCE_", 2, ('"42613.56000000"', '"42613.57000000"'), ('"42775.00000000"', '"42,5"')),
    Case("bitstamp", "BITSTAMP_", 3, ('"42613.56"', '"42613.57"'), ('"42775.00"', '"42,5"')),
    Case("coinbase", "COINBASE_", 3, (",42613.56,", ",42613.57,"), (",42613.56,", ",99999.5,")),
    Case("ecb", "ECB_", 4, ("1.0953", "1.0954"), ("1.0953", "1.09x3")),
    Case(
        "kraken",
        "KRAKEN_",
        4,
        ('"43505.1","43577.7"', '"43505.2","43577.7"'),
        ('"43650.0"', '"43,6"'),
        unfinished=1,
    ),
    Case(
        "polygon",
        "POLYGON_",
        2,
        ('"o": 182.15', '"o": 182.16'),
        ('"h": 183.0872', '"h": 3.0872'),
        ("--exchange", "XNAS"),
    ),
    Case(
        "alpaca",
        "ALPACA_",
        2,
        ('"o": 184.22', '"o": 184.23'),
        ('"h": 185.88', '"h": 5.88'),
        ("--exchange", "XNAS"),
    ),
    Case("stooq", "STOOQ_", 2, ("180.963", "180.964"), ("181.202", "n/a"), ("--exchange", "XNAS")),
    Case("twelvedata", "TWELVE_DATA_", 2, ('"181.91"', '"181.92"'), ('"181.91"', '"n/a"')),
    Case("yahoo", "YAHOO_", 2, ("172.75", "172.76"), ("172.75", "999.5"), unfinished=1),
]
each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.provider)


def variables(case: Case, vendor: Vendor) -> dict[str, str]:
    return {
        f"{case.prefix}BASE_URL": vendor.url,
        f"{case.prefix}API_KEY": "K3YOFTHETEST",
        f"{case.prefix}REQUESTS_PER_MINUTE": "100000",
    }


@pytest.fixture
def impatient(here):
    """Commands in this process that wait for vendors only a moment."""
    patience = {"read": 0.5, "total": 5.0, "backoff": 0.01, "backoff_max": 0.02}
    for name, seconds in patience.items():
        here.setitem(http.Limits.__init__.__kwdefaults__, name, seconds)
    return here


def ingest(case: Case, vendor: Vendor, here, *options: str, code: int = 0) -> dict:
    for name, value in variables(case, vendor).items():
        here.setenv(name, value)
    outcome = invoke(*case.args, *options, "--json")
    assert outcome.code == code, outcome
    assert "K3YOFTHETEST" not in outcome.out + outcome.err
    return outcome.json()


def counts(run: dict) -> tuple[int, ...]:
    return tuple(run[name] for name in ("inserted", "updated", "unchanged", "unfinished", "rejected"))


@each
def test_again_and_corrected_and_damaged(case, here):
    with serving(lambda _: Reply(case.body())) as vendor:
        assert counts(ingest(case, vendor, here)) == (case.rows, 0, 0, case.unfinished, 0)
        assert counts(ingest(case, vendor, here)) == (0, 0, case.rows, case.unfinished, 0)
        vendor.answer = lambda _: Reply(case.body(*case.change))
        assert counts(ingest(case, vendor, here)) == (0, 1, case.rows - 1, case.unfinished, 0)
        vendor.answer = lambda _: Reply(case.body(*case.damage))
        damaged = ingest(case, vendor, here, code=1)
        assert (damaged["status"], damaged["rejected"], damaged["updated"]) == ("partial", 1, 0)
        (rejection,) = invoke("runs", damaged["id"], "--json").json()["rejections"]
        assert rejection["reason"]
        assert rejection["detail"]
        assert case.damage[1].strip('",') in rejection["text"]
        assert rejection["reason"] in invoke("runs", damaged["id"]).out
        assert ingest(case, vendor, here, "--allow-rejections")["rejected"] == 1
        stored = invoke("series", "--json").json()
        assert [(one["source"], one["count"]) for one in stored] == [(case.provider, case.rows)]


HTML = b"<!DOCTYPE html><html><head><title>One moment</title></head><body>consent</body></html>"
FAULTS = {
    "429": (lambda _: Reply(b"slow down", 429, {"Retry-After": "0"}), r"429|too many|limit", 4),
    "429 for an hour": (lambda _: Reply(b"", 429, {"Retry-After": "3600"}), r"429|too many|limit", 1),
    "500": (lambda _: Reply(b"oops", 500), r"500", 4),
    "silent": (lambda body: Reply(body, stall=threading.Event()), r"Timeout|within", 4),
    "truncated": (lambda body: Reply(body[: len(body) // 2], promised=len(body)), r"ended|closed|peer", 4),
    "HTML": (lambda _: Reply(HTML, headers={"Content-Type": "text/html"}), r"sent|no file of rates", 4),
    "empty": (lambda _: Reply(b""), r"sent|no file of rates", 1),
}


@each
@pytest.mark.parametrize("fault", FAULTS)
def test_a_vendor_that_misbehaves(case, fault, impatient):
    make, words, attempts = FAULTS[fault]
    reply = make(case.body())
    with serving(lambda _: reply) as vendor:
        failed = ingest(case, vendor, impatient, code=1)
        if reply.stall is not None:
            reply.stall.set()
        assert failed["status"] == "failed"
        assert counts(failed) == (0, 0, 0, 0, 0)
        assert f"{case.provider}: " in failed["error"]
        assert re.search(words, failed["error"])
        assert len(vendor.asked) == attempts
        assert invoke("series", "--json").json() == []
        vendor.answer = lambda _: Reply(case.body())
        if fault == "429 for an hour":  # and so long nobody asks, whatever process it is
            assert "the next turn to ask is" in ingest(case, vendor, impatient, code=1)["error"]
            assert len(vendor.asked) == attempts
        else:
            assert counts(ingest(case, vendor, impatient))[0] == case.rows


def test_a_vendor_that_is_busy_for_a_moment(impatient):
    case = CASES[1]

    def answer(_: Question) -> Reply:
        return Reply(b"", 429, {"Retry-After": "0"}) if len(vendor.asked) == 1 else Reply(case.body())

    with serving(answer) as vendor:
        assert counts(ingest(case, vendor, impatient))[0] == case.rows
        assert len(vendor.asked) == 2


def test_one_symbol_that_fails_does_not_stop_the_others(here):
    case = CASES[1]
    unknown = Reply(b'{"code":-1121,"msg":"Invalid symbol."}', 400)

    def answer(asked: Question) -> Reply:
        return unknown if asked.params["symbol"] == "NONEUSDT" else Reply(case.body())

    with serving(answer) as vendor:
        here.setenv("BINANCE_BASE_URL", vendor.url)
        command = ["ingest", "binance", "NONEUSDT", *case.args[2:]]
        outcome = invoke(*command)
        assert outcome.code == 1
        assert "partial: 2 inserted" in outcome.out
        assert "NONEUSDT: binance: Invalid symbol." in outcome.complaint
        assert "BTCUSDT (2 of 2)" in outcome.err  # plain lines, as this is no terminal


def test_on_a_terminal(stored):
    case = CASES[1]
    go_on = threading.Event()
    with serving(lambda _: Reply(case.body(), stall=go_on)) as vendor:
        screen, terminal = os.openpty()
        process = start(*case.args, env=stored | variables(case, vendor) | {"TERM": "xterm"}, stderr=terminal)
        until(lambda: vendor.asked, "the question")
        until(lambda: b"BTCUSDT" in os.read(screen, 65536), "a bar with the symbol")
        go_on.set()
        os.set_blocking(screen, False)
        outcome = ended(process)
        assert (outcome.code, "2 inserted" in outcome.out) == (0, True)
        assert b"error" not in os.read(screen, 65536)
        os.close(terminal)
        os.close(screen)


def test_as_a_process(stored):
    case = CASES[1]
    with serving(lambda _: Reply(case.body())) as vendor:
        env = stored | variables(case, vendor)
        first = run(*case.args, env=env)
        assert (first.code, first.out) == (
            0,
            "run 1 succeeded: 2 inserted, 0 updated, 0 unchanged, 0 unfinished, 0 rejected\n",
        )
        assert "[info" not in first.err
        vendor.answer = lambda _: Reply(b"oops", 403)
        refused = run(*case.args, env=env)
        assert refused.code == 1
        assert "403" in refused.complaint
