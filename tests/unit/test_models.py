"""Models: what migrations rely on."""

import pytest

from market_data.core.interval import Basis, Interval
from market_data.core.vocabulary import AssetClass, RunStatus
from market_data.db.base import Base
from market_data.models import BAR_TABLES, bar_table
from market_data.models.columns import one_of

TABLES = Base.metadata.tables


def test_each_interval_has_its_table():
    assert {interval: bar_table(interval) for interval in Interval} == {
        **dict.fromkeys(("1m", "5m", "15m", "30m", "1h", "4h"), "market_price_intraday"),
        **dict.fromkeys(("1d", "1w", "1mo"), "market_price_daily"),
    }
    assert set(BAR_TABLES) <= set(TABLES)


@pytest.mark.parametrize("table", TABLES.values(), ids=str)
def test_everything_carries_a_comment(table):
    assert table.comment
    assert [column.name for column in table.columns if not column.comment] == []


@pytest.mark.parametrize("name", BAR_TABLES)
def test_bars_have_one_width_on_the_wire(name):
    table = TABLES[name]
    assert [column.name for column in table.columns if column.nullable] == []
    assert [column.name for column in table.primary_key.columns] == ["series_id", "ts"]
    assert not table.foreign_keys  # checked once per statement instead: see migration 0002


@pytest.mark.parametrize("table", TABLES.values(), ids=str)
def test_every_constraint_has_a_name_by_convention(table):
    names = [str(constraint.name) for constraint in table.constraints]
    assert all(name.startswith(("pk_", "fk_", "uq_", "ck_")) for name in names), names


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (Basis, "basis IN ('raw', 'split', 'split_dividend')"),
        (
            RunStatus,
            "basis IN ('queued', 'running', 'succeeded', 'partial', 'failed', 'cancelled', 'interrupted')",
        ),
        (AssetClass, "basis IN ('equity', 'etf', 'index', 'fx', 'crypto', 'future', 'fund', 'rate')"),
    ],
)
def test_words_a_column_may_hold(words, expected):
    check = one_of("basis", words)
    assert str(check.sqltext) == expected
    assert check.name == "basis_known"
