"""What is told of a provider, and how durations are written."""

import pytest

from market_data.cli.ingest import history_in_words
from market_data.cli.output import in_words
from market_data.core.interval import Interval
from market_data.services.provider import ProviderDescription, describe_providers

MINUTE, HOUR, DAY = 60, 3600, 86_400


def described(name: str) -> ProviderDescription:
    return next(one for one in describe_providers() if one.name == name)


def test_what_the_settings_say_replaces_what_everyone_may_ask(monkeypatch):
    assert (described("tiingo").requests_per_hour, described("tiingo").requests_per_day) == (50, 1000)
    monkeypatch.setenv("TIINGO_REQUESTS_PER_MINUTE", "300")
    monkeypatch.setenv("TIINGO_REQUESTS_PER_DAY", "150000")
    told = described("tiingo")
    assert (told.requests_per_minute, told.requests_per_hour, told.requests_per_day) == (300, 50, 150_000)


def test_a_period_without_a_quota_gets_none_by_a_setting(monkeypatch):
    monkeypatch.setenv("BINANCE_REQUESTS_PER_DAY", "5")
    assert described("binance").requests_per_day is None


def test_durations_are_whole_seconds():
    told = described("kraken")
    assert told.history_seconds[Interval.M1] == 719 * MINUTE
    assert (told.settling_seconds, told.page_bars, told.timezone) == (10, 720, "UTC")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (10, "10 s"),
        (20 * MINUTE, "20 min"),
        (6 * HOUR, "6 h"),
        (DAY, "1 day"),
        (2 * DAY + 11 * HOUR + 55 * MINUTE, "2 days 11 h 55 min"),
        (730 * DAY + 1, "730 days 1 s"),
    ],
)
def test_a_duration_in_words(seconds, words):
    assert in_words(seconds) == words


def test_a_history_in_words_names_every_interval():
    assert history_in_words([Interval.M1, Interval.D1], {}) == "all"
    assert history_in_words([Interval.M1, Interval.D1], {Interval.M1: 30 * DAY}) == "1m 30 days, 1d all"
