"""Names of variables, and how much is asked for."""

from datetime import UTC, datetime, timedelta

import pytest

from market_data.core.interval import Interval
from market_data.core.vocabulary import AssetClass
from market_data.etl.clients.alphavantage import AlphaVantageClient, AlphaVantageSettings
from market_data.etl.provider import BarRequest

NOW = datetime(2024, 1, 6, 12, tzinfo=UTC)


def test_both_spellings_of_the_address_are_read(monkeypatch):
    monkeypatch.setenv("ALPHAVANTAGE_BASE_URL", "http://127.0.0.1:9")
    assert AlphaVantageSettings(_env_file=None).base_url == "http://127.0.0.1:9"
    monkeypatch.setenv("ALPHA_VANTAGE_BASE_URL", "http://127.0.0.1:8")
    assert AlphaVantageSettings(_env_file=None).base_url == "http://127.0.0.1:8"


def test_the_key_is_never_shown(monkeypatch):
    monkeypatch.setenv("ALPHA_VANTAGE_API_KEY", " ABCDEFGH ")
    settings = AlphaVantageSettings(_env_file=None)
    assert settings.key == "ABCDEFGH"
    assert settings.secrets() == ("ABCDEFGH",)
    assert "ABCDEFGH" not in f"{settings} {settings!r} {settings.model_dump()}"


@pytest.mark.parametrize(
    ("interval", "back", "asset_class", "expected"),
    [
        (Interval.D1, timedelta(days=129), AssetClass.EQUITY, [{"outputsize": "compact"}]),
        (Interval.D1, timedelta(days=131), AssetClass.ETF, [{"outputsize": "full"}]),
        (Interval.D1, timedelta(days=5), AssetClass.CRYPTO, [{}]),
        (Interval.W1, timedelta(days=5), AssetClass.FX, [{}]),
        (Interval.M5, timedelta(hours=8), AssetClass.EQUITY, [{"outputsize": "compact"}]),
        (Interval.M5, timedelta(hours=9), AssetClass.EQUITY, [{"outputsize": "full"}]),
        (Interval.M5, timedelta(days=28), AssetClass.EQUITY, [{"outputsize": "full"}]),
        (Interval.M5, timedelta(days=300), AssetClass.FX, [{"outputsize": "full"}]),
        (
            Interval.M5,
            timedelta(days=36),
            AssetClass.EQUITY,
            [{"outputsize": "full", "month": month} for month in ("2023-12", "2024-01")],
        ),
    ],
)
def test_no_more_is_asked_than_needed(interval, back, asset_class, expected):
    client = AlphaVantageClient(None, AlphaVantageSettings(_env_file=None), now=lambda: NOW)
    request = BarRequest(symbol="X", interval=interval, start=NOW - back)
    found = client._queries(request, asset_class)
    assert [{k: v for k, v in query.items() if k in {"outputsize", "month"}} for query in found] == expected
