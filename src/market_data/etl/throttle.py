"""What an answer says of when to ask again: pauses a vendor asks for, and allowances that are used up.

`Retry-After` is RFC 9110, 10.2.3. `RateLimit-Remaining` and `RateLimit-Reset` (seconds from now) are of the
IETF's draft-ietf-httpapi-ratelimit-headers up to its version 7; `X-RateLimit-*` was there before it, with a
`Reset` that is seconds from now at some vendors and an epoch time at others.
"""

import re

import structlog

from market_data.etl.answer import Answer

log = structlog.get_logger(__name__)

BAN = 120.0
"""Seconds to keep away after a 418 that names no time: Binance's bans are of two minutes to three days."""
LONGEST_PAUSE = 86_400.0
"""Seconds; who is told to wait longer asks once a day."""
LONGEST_RESET = 3_600.0
"""Seconds; a limit that is over later is one of a day, which others of its kind need not obey."""

_FAMILIES = ("ratelimit", "x-ratelimit")
_NUMBER = re.compile(r"\d{1,14}(\.\d+)?")
_EPOCH = 1e9
"""Seconds from 1970 to 2001: what is larger is no span but a time, in seconds, or from `_MILLISECONDS` on
in milliseconds."""
_MILLISECONDS = 1e11


def pause_of(provider: str, answer: Answer) -> float | None:
    """Return for how many seconds nobody should ask the provider; None: the answer asks for no pause."""
    pauses = [_asked(answer), *(_until_reset(provider, answer, family) for family in _FAMILIES)]
    return max((pause for pause in pauses if pause), default=None)


def _asked(answer: Answer) -> float | None:
    if answer.status not in {418, 429, 503}:
        return None
    after = answer.retry_after
    if after is None and answer.status == 418:
        return BAN
    return min(after, LONGEST_PAUSE) if after else None


def _until_reset(provider: str, answer: Answer, family: str) -> float | None:
    """Return the seconds until a spent allowance is whole again."""
    remaining = _number(answer, f"{family}-remaining")
    reset = _number(answer, f"{family}-reset")
    if remaining != 0 or reset is None:
        return None
    if reset >= _EPOCH:
        epoch = reset / 1000 if reset >= _MILLISECONDS else reset
        reset = epoch - answer.sent_at.timestamp()
    if reset > LONGEST_RESET:
        log.info("provider_limit_ignored", provider=provider, header=f"{family}-reset", seconds=round(reset))
        return None
    return reset if reset > 0 else None


def _number(answer: Answer, name: str) -> float | None:
    text = answer.headers.get(name, "").strip()
    return float(text) if _NUMBER.fullmatch(text) else None
