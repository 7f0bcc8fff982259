"""Cells to exact columns."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_data.etl.columns import TextTable, epochs, numbers, numbers_from_text, raw_bars, wall_times


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_text_becomes_the_nearest_double(values):
    found, unreadable = numbers_from_text([repr(value) for value in values])
    assert [value.hex() for value in found.tolist()] == [value.hex() for value in values]
    assert not unreadable.any()


@given(st.decimals(min_value=0, max_value=10**9, places=8))
def test_decimal_text_becomes_what_python_makes_of_it(value):
    assert numbers_from_text([str(value)])[0][0] == float(str(value))


def test_absent_is_not_unreadable():
    found, unreadable = numbers_from_text(["1.5", "", None, "n/a", " 2 ", "null", "nan", "1,5", "inf"])
    assert np.isnan(found).tolist() == [False, True, True, True, False, True, True, True, False]
    assert unreadable.tolist() == [False, False, False, True, False, False, True, True, False]
    assert numbers_from_text(["N/A"], absent=("N/A",))[1].tolist() == [False]


def test_parsed_numbers_keep_their_gaps_and_their_length():
    assert np.isnan(numbers([1.5, None], 2)[0]).tolist() == [False, True]
    assert np.isnan(numbers(None, 3)[0]).all()
    with pytest.raises(ValueError, match="columns of 3 and 2 cells"):
        numbers([1.0, 2.0], 3)


def test_stamps():
    assert epochs([-1, 0], "s")[0].astype(str).tolist() == [
        "1969-12-31T23:59:59.000000",
        "1970-01-01T00:00:00.000000",
    ]
    assert epochs([1_735_689_600_000_000], "us")[0] == epochs([1_735_689_600_000], "ms")[0]
    found, unreadable = wall_times(["2024-01-02", "2024-01-02 09:30:00", "02/01/2024", "2024-02-30", ""])
    assert found.astype(str).tolist()[:2] == ["2024-01-02T00:00:00.000000", "2024-01-02T09:30:00.000000"]
    assert unreadable.tolist() == [False, False, True, True, True]


def test_a_table_keeps_its_lines():
    table = TextTable("Date, USD,\r\n\r\n2024-01-05,1.0921,\r\n2024-01-04,,\r\n")
    assert len(table) == 2
    assert table.lines == ["2024-01-05,1.0921,", "2024-01-04,,"]
    assert table.names == ["Date", "USD", ""]
    assert table.column("USD").to_list() == ["1.0921", None]
    with pytest.raises(KeyError):
        table.column("JPY")


@pytest.mark.parametrize("text", ["", "no commas", "a,b\n1,2\n3", "a,b\n1,2,3", "a,b\n1"])
def test_what_is_no_table_is_refused(text):
    with pytest.raises(ValueError):
        TextTable(text)


def test_rows_are_put_together():
    price = numbers_from_text(["1", "x"])
    rows = raw_bars(wall_times(["2024-01-02", "2024-01-03"]), [price] * 4, None, "ab".__getitem__)
    assert len(rows) == 2
    assert rows.unreadable.tolist() == [False, True]
    assert rows.running.tolist() == [False, False]
    assert np.isnan(rows.volume).all()
    assert rows.text(1) == "b"
