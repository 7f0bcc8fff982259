"""How a vendor defends itself, and how it fails: as values and counters, without a clock or a socket."""

import hashlib
import math
from collections import Counter, deque
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class Limit:
    """At most `requests` in any `per` seconds, of all clients together; None: any number.

    Whoever asks more is told to wait (429), and a request before that wait is over is a strike. With
    `strikes` of them all clients are banned (418) for `ban` seconds, and then the strikes are forgotten.
    """

    requests: int | None = None
    per: float = 60.0
    strikes: int = 3
    ban: float = 120.0
    grace: float = 0.0
    """Seconds after a first 429 in which requests are no strikes, because they were already under way."""


@dataclass(frozen=True)
class Verdict:
    """200, 429 or 418, and the whole seconds to wait."""

    status: int
    retry_after: int = 0


class Window:
    """Counts what happened in the last `per` seconds, the moment `per` ago excluded."""

    def __init__(self, per: float) -> None:
        self.per = per
        self.most = 0
        """The largest count there has been."""
        self._times: deque[float] = deque()

    def add(self, now: float) -> None:
        self._times.append(now)
        self.most = max(self.most, self.count(now))

    def count(self, now: float) -> int:
        while self._times and self._times[0] <= now - self.per:
            self._times.popleft()
        return len(self._times)

    def oldest(self) -> float:
        return self._times[0]


class Limiter:
    """Judges requests by when they come, in monotonic seconds. Only those admitted use up the allowance."""

    def __init__(self, rule: Limit) -> None:
        self.rule = rule
        self.strikes = 0
        """Of all time; those that lead to the next ban are counted apart."""
        self.bans = 0
        self.asked = Window(rule.per)
        self.admitted = Window(rule.per)
        self._until = self._lenient_until = -math.inf
        self._banned = False
        self._counted = 0

    def judge(self, now: float) -> Verdict:
        self.asked.add(now)
        if now < self._until:
            return self._impatient(now)
        self._banned = False
        if self.rule.requests is None or self.admitted.count(now) < self.rule.requests:
            self.admitted.add(now)
            return Verdict(200)
        wait = max(math.ceil(self.admitted.oldest() + self.rule.per - now), 1)
        self._until, self._lenient_until = now + wait, now + self.rule.grace
        return Verdict(429, wait)

    def _impatient(self, now: float) -> Verdict:
        if not self._banned and now >= self._lenient_until:
            self.strikes += 1
            self._counted += 1
            if self._counted >= self.rule.strikes:
                self._banned, self._counted, self._until = True, 0, now + self.rule.ban
                self.bans += 1
        return Verdict(418 if self._banned else 429, max(math.ceil(self._until - now), 1))


class Fault(StrEnum):
    """What may become of a good answer."""

    ERROR_500 = "500"
    ERROR_503 = "503"
    RESET = "reset"
    """The connection breaks before the first byte."""
    CUT = "cut"
    """The connection ends in mid-body, before the announced length."""
    HTML = "html"
    """200 with a web page."""
    HALF = "half"
    """200 and complete by its length, but half a JSON."""


@dataclass(frozen=True)
class Faults:
    """Which fraction of answers is faulty. Equal seeds fail the same requests, in any order."""

    fraction: float = 0.0
    seed: int = 0


class Saboteur:
    """Chooses the answers that fail: by the request and how often it was made before."""

    def __init__(self, rule: Faults) -> None:
        self.rule = rule
        self._made: Counter[str] = Counter()

    def choose(self, request: str) -> Fault | None:
        if not self.rule.fraction:
            return None
        made = self._made[request]
        self._made[request] += 1
        text = f"{self.rule.seed} {made} {request}"
        draw = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
        kinds = list(Fault)
        return kinds[draw % len(kinds)] if (draw >> 11) / 2**53 < self.rule.fraction else None
