"""Binance's klines call over a computed market: from the target of a request to an answer, without a socket.

https://developers.binance.com/docs/binance-spot-api-docs/rest-api/general-api-information
"""

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from market_data.core.interval import Interval
from tests.support.replay_limits import Fault, Faults, Limit, Limiter, Saboteur, Verdict
from tests.support.replay_market import ALWAYS, STEPS, Market, minutes, rows
from tests.support.replay_pages import render

KLINES = "/api/v3/klines"
STATS = "/_stats"
WEIGHT = 2
"""What Binance counts for one call, of the 6000 a minute it allows."""

_HTML = b"<!DOCTYPE html>\n<html><head><title>One moment</title></head><body>maintenance</body></html>"
_MINUTE = 60_000
_SHOWN = 100
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 418: "I'm a teapot", 429: "Too Many Requests"}

Key = tuple[str, str, str, str]
"""Symbol, interval, startTime and endTime as they were asked for."""


@dataclass(frozen=True)
class Reply:
    """An answer, and what is to go wrong on its way."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    fault: Fault | None = None
    key: Key | None = None
    """Set where bars are served."""
    bars: int = 0

    def wire(self) -> bytes:
        """Return the bytes to send; nothing where the connection is to be reset. After a cut it is to end."""
        if self.fault is Fault.RESET:
            return b""
        headers = {
            "Content-Type": "application/json;charset=UTF-8",
            "Content-Length": str(len(self.body)),
            **self.headers,
        }
        lines = [f"HTTP/1.1 {self.status} {_REASONS.get(self.status, 'Error')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join([*lines, "", ""]).encode()
        return head + (self.body[: len(self.body) // 2] if self.fault is Fault.CUT else self.body)


class Refused(Exception):
    """A question that cannot be answered, with Binance's code for it."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.body = _refusal(code, text)


class Exchange:
    """Answers, limits, fails and keeps the statistics."""

    def __init__(
        self, market: Market = ALWAYS, limit: Limit | None = None, faults: Faults | None = None
    ) -> None:
        self.market = market
        self.limiter = Limiter(limit or Limit())
        self.saboteur = Saboteur(faults or Faults())
        self._replies: Counter[str] = Counter()
        self._failures: Counter[str] = Counter({str(kind): 0 for kind in Fault})
        self._served: Counter[Key] = Counter()
        self._first: float | None = None
        self._last: float | None = None

    def answer(self, target: str, now: float) -> Reply:
        """Answer a request for a path with its query that came at `now`, in monotonic seconds."""
        url = urlsplit(target)
        if url.path == STATS:
            return Reply(200, json.dumps(self.stats()).encode())
        self._last = time.time()
        self._first = self._first or self._last
        self._replies["requests"] += 1
        verdict = self.limiter.judge(now)
        headers = {"X-MBX-USED-WEIGHT-1M": str(WEIGHT * self.limiter.admitted.count(now))}
        if verdict.status != 200:
            return self._limited(verdict, headers)
        try:
            reply = self._klines(url.path, dict(parse_qs(url.query)), headers)
        except Refused as refused:
            self._replies["refused"] += 1
            return Reply(400, refused.body, headers)
        fault = self.saboteur.choose(target)
        return reply if fault is None else self._faulty(reply, fault)

    def sent(self, reply: Reply) -> None:
        """Note that a client took an answer to its end."""
        if reply.key is not None:
            self._served[reply.key] += 1
            self._replies["ok"] += 1
            self._replies["bars"] += reply.bars

    def stats(self) -> dict:
        """Return what happened so far; times are seconds since 1970."""
        again = {key: times for key, times in self._served.items() if times > 1}
        return {
            **{name: self._replies[name] for name in ("requests", "ok", "limited", "banned", "refused")},
            "strikes": self.limiter.strikes,
            "bans": self.limiter.bans,
            "failures": dict(self._failures),
            "bars": self._replies["bars"],
            "first_request": self._first,
            "last_request": self._last,
            "repeated": len(again),
            "pages_again": sum(again.values()) - len(again),
            "repeats": [[*key, times] for key, times in list(again.items())[:_SHOWN]],
            "peak": self.limiter.asked.most,
        }

    def _limited(self, verdict: Verdict, headers: dict[str, str]) -> Reply:
        rule = self.limiter.rule
        if verdict.status == 429:
            self._replies["limited"] += 1
            text = (
                f"Too many requests; current limit is IP(127.0.0.1) {WEIGHT * (rule.requests or 0)} request "
                f"weight per {rule.per:g} seconds. Please use the websocket for live updates to avoid "
                "polling the API."
            )
        else:
            self._replies["banned"] += 1
            until = int((time.time() + verdict.retry_after) * 1000)
            text = (
                f"Way too much request weight used; IP banned until {until}. Please use WebSocket Streams "
                "for live updates to avoid bans."
            )
        waiting = {**headers, "Retry-After": str(verdict.retry_after)}
        return Reply(verdict.status, _refusal(-1003, text), waiting)

    def _klines(self, path: str, asked: dict[str, list[str]], headers: dict[str, str]) -> Reply:
        if path != KLINES:
            raise Refused(-1000, f"there is no {path[:80]} here")
        symbol, given, start = (_text(asked, name) for name in ("symbol", "interval", "startTime"))
        end = asked.get("endTime", [""])[0]
        if given not in STEPS:
            raise Refused(-1120, "Invalid interval.")
        interval = Interval(given)
        low, limit = _number("startTime", start), _number("limit", asked.get("limit", ["500"])[0])
        # Theirs is inclusive: a bar at endTime belongs to the answer.
        high = _number("endTime", end) // _MINUTE + 1 if end else 2**40
        try:
            found = minutes(symbol, interval, -(-low // _MINUTE), high, self.market, min(limit, 1000))
            body = render(rows(symbol, interval, found), interval)
        except ValueError:
            raise Refused(-1121, "Invalid symbol.") from None
        return Reply(200, body, headers, key=(symbol, given, start, end), bars=len(found))

    def _faulty(self, reply: Reply, fault: Fault) -> Reply:
        self._failures[fault] += 1
        headers = reply.headers
        match fault:
            case Fault.ERROR_500 | Fault.ERROR_503:
                body = _refusal(-1001, "Internal error; unable to process your request. Please try again.")
                return Reply(int(fault), body, headers, fault)
            case Fault.HTML:
                return Reply(200, _HTML, {**headers, "Content-Type": "text/html"}, fault)
            case Fault.HALF:
                return Reply(200, reply.body[: len(reply.body) // 2], headers, fault)
            case Fault.RESET | Fault.CUT:
                return Reply(200, reply.body, headers, fault)


def _refusal(code: int, text: str) -> bytes:
    return json.dumps({"code": code, "msg": text}).encode()


def _text(asked: dict[str, list[str]], name: str) -> str:
    if name not in asked:
        text = f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
        raise Refused(-1102, text)
    return asked[name][0]


def _number(name: str, text: str) -> int:
    if not text.isdecimal() or (name == "limit" and not int(text)):
        raise Refused(
            -1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'."
        )
    return int(text)
