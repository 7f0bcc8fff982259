"""When to ask: the pace of a process, what answers say of it, and whom a vendor counts."""

import os
import time
from itertools import pairwise

import pytest

from market_data.core.exceptions import ConfigurationError, ProviderRateLimited
from market_data.etl import registry
from market_data.etl.allowance import account_of, allowance_of
from market_data.etl.answer import Answer
from market_data.etl.pace import ProcessPace, process_pace
from market_data.etl.registry import find_provider, open_client
from market_data.etl.throttle import pause_of
from tests.support.command import VENDORS
from tests.support.pace import FakePace

FRIDAY = "Fri, 05 Jan 2024 18:00:00 GMT"
EPOCH = 1_704_477_600
"""The same, by `date -d`."""


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith(VENDORS)]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(registry, "project_dir", lambda: tmp_path)


class Clock:
    """A clock that only sleeping moves; `meanwhile` is awaited in the next sleep."""

    def __init__(self):
        self.time = 1000.0
        self.sleeps = []
        self.meanwhile = None

    def __call__(self):
        return self.time

    async def sleep(self, seconds):
        self.sleeps.append(seconds)
        self.time += seconds
        if self.meanwhile is not None:
            ours, self.meanwhile = self.meanwhile, None
            await ours


def paced(clock, requests_per_minute=1e9):
    return ProcessPace("vendor", requests_per_minute, sleep=clock.sleep, clock=clock)


async def test_turns_of_a_process_are_evenly_spaced():
    pace = ProcessPace("vendor", 1200)
    turns = []
    for _ in range(5):
        await pace.turn()
        turns.append(time.monotonic())
    assert all(later - earlier >= 0.045 for earlier, later in pairwise(turns))
    assert pace.step == 0.05


async def test_clients_of_a_provider_share_the_pace_of_the_process():
    assert process_pace("vendor", 30) is process_pace("vendor", 30)
    assert process_pace("vendor", 30) is not process_pace("other", 30)
    assert process_pace("vendor", 30).step == 2.0


async def test_nobody_of_a_process_asks_during_a_hold():
    clock = Clock()
    pace = paced(clock)
    await pace.turn()
    assert clock.sleeps == []
    await pace.hold(20)
    await pace.hold(10)
    await pace.turn()
    assert clock.sleeps == [20]
    await pace.turn()
    assert clock.sleeps == [20]


async def test_a_hold_that_comes_while_one_waits_is_heeded():
    clock = Clock()
    pace = paced(clock)
    await pace.hold(20)
    clock.meanwhile = pace.hold(5)
    await pace.turn()
    assert clock.sleeps == [20, 5]


async def test_a_long_hold_is_told_and_not_slept_through():
    clock = Clock()
    pace = paced(clock)
    await pace.hold(61)
    with pytest.raises(ProviderRateLimited, match="61 s") as caught:
        await pace.turn()
    assert caught.value.retry_after == 61
    assert clock.sleeps == []


async def test_who_is_slow_by_setting_has_more_patience():
    clock = Clock()
    pace = paced(clock, 0.5)
    await pace.hold(240)
    await pace.turn()
    await pace.hold(241)
    with pytest.raises(ProviderRateLimited):
        await pace.turn()


def answer(status=200, **headers):
    return Answer(
        status=status, headers={name.replace("_", "-"): value for name, value in headers.items()}, body=b""
    )


@pytest.mark.parametrize(
    ("given", "pause"),
    [
        (answer(), None),
        (answer(429), None),
        (answer(429, retry_after="30"), 30.0),
        (answer(429, retry_after="0"), None),
        (answer(429, retry_after="259200"), 86_400.0),
        (answer(503, retry_after="Fri, 05 Jan 2024 18:02:00 GMT", date=FRIDAY), 120.0),
        (answer(500, retry_after="30"), None),
        (answer(200, retry_after="30"), None),
        (answer(418), 120.0),
        (answer(418, retry_after="600"), 600.0),
        (answer(ratelimit_remaining="0", ratelimit_reset="30"), 30.0),
        (answer(ratelimit_remaining="1", ratelimit_reset="30"), None),
        (answer(ratelimit_remaining="0"), None),
        (answer(ratelimit_reset="30"), None),
        (answer(ratelimit_remaining="none", ratelimit_reset="30"), None),
        (answer(ratelimit_remaining="0", ratelimit_reset="soon"), None),
        (answer(ratelimit_remaining="0", ratelimit_reset="-3"), None),
        (answer(x_ratelimit_remaining="0", x_ratelimit_reset="0.5"), 0.5),
        (answer(x_ratelimit_remaining="0", x_ratelimit_reset="0"), None),
        (answer(x_ratelimit_remaining="0", x_ratelimit_reset="3600"), 3600.0),
        (answer(x_ratelimit_remaining="0", x_ratelimit_reset="3601"), None),
        (answer(x_ratelimit_remaining="0", x_ratelimit_reset=f"{EPOCH + 42}", date=FRIDAY), 42.0),
        (answer(x_ratelimit_remaining="0", x_ratelimit_reset=f"{EPOCH + 42}500", date=FRIDAY), 42.5),
        (answer(x_ratelimit_remaining="0", x_ratelimit_reset=f"{EPOCH}", date=FRIDAY), None),
        (answer(x_ratelimit_remaining="0", x_ratelimit_reset=f"{EPOCH + 7200}", date=FRIDAY), None),
        (answer(429, retry_after="5", ratelimit_remaining="0", ratelimit_reset="30"), 30.0),
        (answer(429, retry_after="50", ratelimit_remaining="0", ratelimit_reset="30"), 50.0),
        (
            answer(
                ratelimit_remaining="0",
                ratelimit_reset="3",
                x_ratelimit_remaining="0",
                x_ratelimit_reset="9",
            ),
            9.0,
        ),
    ],
    ids=lambda value: repr(value)[:90],
)
def test_what_an_answer_says_of_when_to_ask_again(given, pause):
    assert pause_of("vendor", given) == pause


def test_a_time_is_told_by_our_clock_where_the_vendor_has_none():
    soon = answer(x_ratelimit_remaining="0", x_ratelimit_reset=str(int(time.time()) + 100))
    assert 90 < pause_of("vendor", soon) <= 100


def test_an_account_is_a_key_and_says_nothing_of_it():
    assert account_of("vendor", ()) == "vendor"
    # printf 'ABCDEFGH' | sha256sum; printf 'ABCDEFGH\nSECRET' | sha256sum
    assert account_of("vendor", ("ABCDEFGH",)) == "vendor:9ac2197d9258"
    assert account_of("vendor", ("ABCDEFGH", "SECRET")) == "vendor:babedaae298d"


def test_what_is_allowed_follows_spec_and_settings(monkeypatch):
    found = allowance_of(find_provider("alphavantage"))
    spec = find_provider("alphavantage").spec
    assert (found.provider, found.account) == ("alphavantage", "alphavantage")
    assert (found.requests_per_minute, found.quotas) == (spec.requests_per_minute, spec.quotas)
    monkeypatch.setenv("ALPHA_VANTAGE_API_KEY", "ABCDEFGH")
    monkeypatch.setenv("ALPHA_VANTAGE_REQUESTS_PER_MINUTE", "600")
    found = allowance_of(find_provider("alphavantage"))
    assert (found.account, found.requests_per_minute) == ("alphavantage:9ac2197d9258", 600)
    monkeypatch.setenv("ALPHA_VANTAGE_REQUESTS_PER_MINUTE", "0")
    with pytest.raises(ConfigurationError):
        allowance_of(find_provider("alphavantage"))


def test_nobody_counts_what_lies_in_a_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("LEAN_FOLDER", str(tmp_path))
    assert allowance_of(find_provider("lean")) is None


async def test_a_pace_that_is_given_is_used():
    pace = FakePace()
    async with open_client("ecb", pace=pace) as client:
        assert client.http.pace is pace
    async with open_client("ecb") as client:
        assert client.http.pace is process_pace("ecb", 60)
