# ruff: noqa: DTZ001 - NumPy stamps are naive, and UTC by definition here
import io
import math
import struct
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data.core.exceptions import InvalidInput, UnreadableBody
from market_data.core.interval import Interval
from market_data.etl.readers.chunk import Chunk
from market_data.etl.readers.format import FileFormat, read
from market_data.etl.readers.layout import RowOptions, parse_mapping
from market_data.etl.readers.rows import RowTable, SeriesKey, join_groups
from market_data.etl.transformers.rejection import Rejections

ONE_SERIES = {"symbol": "A", "interval": "1m"}


def table(columns, unusable=(), **options):
    """Rows of columns; o, h, l, c are filled in where they are not the point."""
    frame = pl.DataFrame(columns, strict=False)
    missing = [name for name in ("open", "high", "low", "close") if name not in frame.columns]
    frame = frame.with_columns(pl.lit(1.0).alias(name) for name in missing)
    return RowTable(Chunk(frame, unusable=dict(unusable)), RowOptions(**options))


def times(cells, **options):
    """What the ts cells mean: ISO text of the instant, the reason of a rejection, or None where absent."""
    frame = pl.DataFrame({"ts": cells if isinstance(cells, pl.Series) else pl.Series(cells)})
    found = table(frame.with_row_index("volume"), constants=ONE_SERIES, **options)
    read_ = {
        int(v): None if t is None else t.isoformat()
        for group in found.groups()
        for v, t in zip(group.rows.volume.tolist(), group.rows.stamp.tolist(), strict=True)
    }
    reasons = iter(rejection.reason for rejection in found.rejections.kept)
    return [read_[i] if i in read_ else next(reasons) for i in range(frame.height)]


def prices(cells):
    """What volume cells mean: a double, or the detail of a rejection."""
    series = cells if isinstance(cells, pl.Series) else pl.Series(cells, dtype=pl.String)
    ts = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=i) for i in range(len(series))]
    found = table({"ts": ts, "volume": series}, constants=ONE_SERIES)
    read_ = {
        stamp.replace(tzinfo=UTC): value
        for group in found.groups()
        for stamp, value in zip(group.rows.stamp.tolist(), group.rows.volume.tolist(), strict=True)
    }
    details = iter(rejection.detail for rejection in found.rejections.kept)
    return [read_[stamp] if stamp in read_ else next(details) for stamp in ts]


def refused(field, match, columns, **options):
    with pytest.raises(InvalidInput, match=match) as caught:
        table(columns, **options)
    assert caught.value.field == field


# Groups


def test_rows_are_grouped_in_their_order():
    found = table(
        {
            "Symbol ": ["B", "A", "B", None, "B"],
            "EXCHANGE": ["X", "", "X", None, "Y"],
            "instrument_id": [None, None, None, 7, None],
            "interval": ["1d", "1min", "1Day", "1d", "1d"],
            "ts": ["2024-01-02", "2024-01-03", "2024-01-01", "2024-01-02", "2024-01-02"],
            "close": [1, 2, 3, 4, 5],
        }
    )
    assert [(g.key, g.rows.close.tolist()) for g in found.groups()] == [
        (SeriesKey("B", "X", None, Interval.D1), [1, 3]),
        (SeriesKey("A", None, None, Interval.M1), [2]),
        (SeriesKey(None, None, 7, Interval.D1), [4]),
        (SeriesKey("B", "Y", None, Interval.D1), [5]),
    ]
    first = next(found.groups()).rows
    assert [t.isoformat() for t in first.stamp.tolist()] == ["2024-01-02T00:00:00", "2024-01-01T00:00:00"]
    assert math.isnan(first.volume[0])
    assert not (first.running | first.unreadable).any()
    assert '"interval": "1Day"' in first.text(1)
    assert found.rejections.total == 0


def test_groups_that_prove_to_be_one_series_join_in_the_order_of_the_file():
    names = ["A", "X:A", "A", "X:A", "A"]
    found = table(
        {"symbol": names, "ts": ["2024-01-02"] * 5, "close": [0, 1, 2, 3, 4]}, constants={"interval": "1d"}
    )
    first, second = found.groups()
    assert (first.order.tolist(), second.order.tolist()) == ([0, 2, 4], [1, 3])
    joined = join_groups([second, first])
    assert joined.close.tolist() == [0, 1, 2, 3, 4]
    assert [name in joined.text(i) for i, name in enumerate(names)] == [True] * 5
    assert len(joined) == len(joined.running) == len(joined.unreadable) == 5
    assert join_groups([first]) is first.rows


def test_an_id_stands_above_a_symbol():
    found = table(
        {
            "symbol": ["A", "B"],
            "exchange": ["X", None],
            "instrument_id": ["5", "5"],
            "ts": ["2024-01-02"] * 2,
            "interval": ["1d"] * 2,
        }
    )
    assert [(g.key, len(g.rows)) for g in found.groups()] == [(SeriesKey(None, None, 5, Interval.D1), 2)]


def test_names_may_be_numbers():
    for dtype in (pl.Int64, pl.Float64):
        found = table(
            {"symbol": pl.Series([600519, 700], dtype=dtype), "ts": ["2024-01-02"] * 2},
            constants={"interval": "1d"},
        )
        assert [g.key.symbol for g in found.groups()] == ["600519", "700"]


def test_nothing_gives_no_group():
    found = table(
        {"symbol": pl.Series([], dtype=pl.String), "ts": pl.Series([], dtype=pl.String)},
        constants={"interval": "1d"},
    )
    assert list(found.groups()) == []
    assert found.rejections.total == 0


def test_rows_without_a_series_are_rejections():
    found = table(
        {
            "symbol": ["A", None, "  ", "a b", "é", "A", "A", "B\x00", "x" * 65, "A"],
            "exchange": ["X", None, None, None, None, None, None, None, None, "N,Y"],
            "interval": ["1d", "1d", "1d", "1d", "1d", "1M", None, "1d", "1d", "2d"],
            "ts": ["2024-01-02"] * 10,
        }
    )
    assert [r.reason for r in found.rejections.kept] == [
        "missing_value",
        "missing_value",
        "unreadable",
        "unreadable",
        "unknown_interval",
        "missing_value",
        "unreadable",
        "unreadable",
        "unreadable",
    ]
    details = [r.detail for r in found.rejections.kept]
    assert details[0] == "The row names no symbol and no instrument_id."
    assert "'a b' is not 1 to 64 ASCII" in details[2]
    assert "ambiguous: write 1m for one minute or 1mo for one month." in details[4]
    assert details[5] == "The row names no interval."
    assert "\x00" not in found.rejections.kept[6].text
    assert details[8].startswith("exchange: 'N,Y'")
    assert sum(len(g.rows) for g in found.groups()) == 1


def test_unknown_intervals_list_the_known():
    found = table({"symbol": ["A"], "interval": ["2d"], "ts": ["2024-01-02"]})
    assert found.rejections.kept[0].detail.endswith("use one of 1m, 5m, 15m, 30m, 1h, 4h, 1d, 1w, 1mo.")


def test_ids_that_are_no_ids():
    found = table(
        {
            "instrument_id": ["1", "x", "-3", "0", "1.5", "99999999999999999999", None],
            "ts": ["2024-01-02"] * 7,
        },
        constants={"interval": "1d"},
    )
    assert [(r.reason, r.detail.partition(":")[0]) for r in found.rejections.kept] == [
        *[("unreadable", "instrument_id")] * 5,
        ("missing_value", "The row names no symbol and no instrument_id."),
    ]
    assert [g.key.instrument_id for g in found.groups()] == [1]


def test_broken_lines_come_first():
    broken = Rejections()
    broken.add("unreadable", "The line has 1 cells, the header 6.", "x")
    frame = pl.DataFrame({"ts": ["nonsense"], "open": [1], "high": [1], "low": [1], "close": [1]})
    found = RowTable(Chunk(frame, broken), RowOptions(constants=ONE_SERIES))
    assert [r.text[:6] for r in found.rejections.kept] == ["x", '{"ts":']


# Columns


def test_mapping_and_aliases():
    columns = {"Ticker": ["A"], "Date": ["2024-01-02"], "Px": [3.0], "Adj": [2.0], "CLOSE": [9.0]}
    mapping = parse_mapping("symbol=Ticker, close=adj ,open=Px,high=Px,low=Px")
    (group,) = table(columns, mapping=mapping, constants={"interval": "1d"}).groups()
    assert group.key.symbol == "A"
    assert (group.rows.open[0], group.rows.close[0]) == (3.0, 2.0)
    assert group.rows.stamp[0].item() == datetime(2024, 1, 2)


@pytest.mark.parametrize("text", ["", "ts", "ts=", "=x", "ts=a,ts=b", "opne=Open", "ts=a,,open=b"])
def test_wrong_mappings_name_the_option(text):
    with pytest.raises(InvalidInput) as caught:
        parse_mapping(text)
    assert caught.value.field == "map"


GOOD = {"symbol": ["A"], "interval": ["1d"], "ts": ["2024-01-02"]}


@pytest.mark.parametrize(
    ("field", "match", "change", "options"),
    [
        ("ts", "no such column; columns found: symbol, interval", {"ts": None}, {}),
        ("symbol", "neither a column nor given", {"symbol": None}, {}),
        ("interval", "neither a column nor given", {"interval": None}, {}),
        ("open", "'Opening', which is absent", {}, {"mapping": {"open": "Opening"}}),
        ("ts", "'Date', which is absent", {}, {"mapping": {"ts": "Date"}}),
        ("ts", "'Time', which is absent", {"Date": ["x"]}, {"mapping": {"ts": "Date+Time"}}),
        ("map", "unknown name 'opne'", {}, {"mapping": {"opne": "open"}}),
        ("constants", "unknown name 'ts'", {}, {"constants": {"ts": "2024"}}),
        ("ts", "may be any of 'Date', 'Time'", {"ts": None, "Date": ["x"], "Time": ["y"]}, {}),
        (
            "open",
            "several columns fit: 'Open', 'OPEN'",
            {"Open": [1], "OPEN": [1]},
            {"mapping": {"open": "oPen"}},
        ),
        ("interval", "ambiguous", {"interval": None}, {"constants": {"interval": "1M"}}),
        ("instrument_id", "'x' is no whole number", {}, {"constants": {"instrument_id": "x"}}),
        ("symbol", "given as 'B', but column 'symbol' holds 'A'", {}, {"constants": {"symbol": "B"}}),
        (
            "interval",
            "given as '1h', but column 'interval' holds '1d'",
            {},
            {"constants": {"interval": "1h"}},
        ),
        ("open", "column 'open' is of type Boolean", {"open": [True]}, {}),
        ("close", "column 'close' is of type Date", {"close": [date(2024, 1, 2)]}, {}),
        ("symbol", "column 'symbol' is of type Boolean", {"symbol": [True]}, {}),
        ("symbol", "column 'symbol' is of type Float64", {"symbol": [1.5]}, {}),
        ("ts", "column 'ts' is of type Boolean", {"ts": [True]}, {}),
        ("ts", "column 'ts' is of type Decimal", {"ts": [Decimal("1.5")]}, {}),
        ("timezone", "no IANA time zone", {}, {"timezone": "Mars/Base"}),
    ],
)
def test_columns_that_cannot_be_used_are_named(field, match, change, options):
    columns = {name: cells for name, cells in {**GOOD, **change}.items() if cells is not None}
    refused(field, match, columns, **options)


def test_a_missing_price_lists_the_columns():
    frame = pl.DataFrame({"symbol": ["A"], "ts": ["2024-01-02"], "open": [1]})
    with pytest.raises(InvalidInput, match="no such column; columns found: symbol, ts, open") as caught:
        RowTable(Chunk(frame), RowOptions(constants={"interval": "1d"}))
    assert caught.value.field == "high"
    with pytest.raises(InvalidInput, match="columns found: none"):
        RowTable(Chunk(pl.DataFrame()), RowOptions())


def test_nested_columns_matter_only_where_they_are_needed():
    assert table(GOOD, unusable={"extra": "list<int>"}).rejections.total == 0
    with pytest.raises(UnreadableBody, match="column 'volume' is of type list<int>"):
        table(GOOD, unusable={"volume": "list<int>"})


def test_a_constant_may_repeat_what_the_column_says():
    columns = {"symbol": ["A", None], "interval": ["1Day", "1d"], "ts": ["2024-01-02"] * 2}
    (group,) = table(columns, constants={"symbol": " A ", "interval": "D"}).groups()
    assert (group.key, len(group.rows)) == (SeriesKey("A", None, None, Interval.D1), 2)


# Times

T = "2024-01-02T09:30:00"


@pytest.mark.parametrize(
    ("cell", "instant"),
    [
        ("2024-01-02T09:30:00Z", T),
        ("2024-01-02t09:30:00z", T),
        ("2024-01-02 09:30:00Z", T),
        ("2024-01-02T09:30Z", T),
        ("2024-01-02T04:30:00-05:00", T),
        ("2024-01-02 04:30:00-05:00", T),
        ("2024-01-02 04:30-05:00", T),
        ("2024-01-02T15:00:00+0530", T),
        (" 2024-01-02T09:30:00Z ", T),
        ("2024-01-02T09:30:00.5Z", "2024-01-02T09:30:00.500000"),
        ("2024-01-02T09:30:00.123456789Z", "2024-01-02T09:30:00.123456"),
        ("2024-01-02", "2024-01-02T00:00:00"),
        ("2024/01/02", "2024-01-02T00:00:00"),
        ("2024.01.02", "2024-01-02T00:00:00"),
        ("20240102", "2024-01-02T00:00:00"),
        ("1704187800", T),
        ("1704187800.5", "2024-01-02T09:30:00.500000"),
        ("1704187800000", T),
        ("1704187800000001", "2024-01-02T09:30:00.000001"),
        ("1704187800000001000", "2024-01-02T09:30:00.000001"),
        ("2024-01-02T09:30:00", "naive_time"),
        ("2024-01-02 09:30", "naive_time"),
        ("01/02/2024", "unreadable"),
        ("01/02/24", "unreadable"),
        ("2024-02-30", "unreadable"),
        ("20240230", "unreadable"),
        ("2024012 170000", "unreadable"),
        ("2024-01-02T09:30:00Zulu", "unreadable"),
        ("12345", "unreadable"),
        ("50000000000", "unreadable"),
        ("noon", "unreadable"),
        ("", None),
        ("null", None),
    ],
)
def test_times_as_text(cell, instant):
    assert times([cell]) == [instant]
    assert times([T + "Z", None, cell, "2024-01-02"]) == [T, None, instant, "2024-01-02T00:00:00"]


def test_why_a_time_was_refused():
    cells = ["01/02/2024", "noon", "2024-01-02T09:30:00"]
    found = table({"ts": cells}, constants=ONE_SERIES)
    details = [r.detail for r in found.rejections.kept]
    assert "may be day/month or month/day" in details[0]
    assert "--ts-format %m/%d/%Y" in details[0]
    assert "'noon' is no time" in details[1]
    assert "has no offset: write Z" in details[2]
    one = table({"ts": ["x"]}, constants=ONE_SERIES, ts_format="%d/%m/%Y").rejections.kept[0]
    assert one.detail == "'x' does not fit the pattern '%d/%m/%Y'."


@pytest.mark.parametrize(
    ("cells", "instants"),
    [
        (pl.Series([1704187800, None]), [T, None]),
        (pl.Series([1704187800000], dtype=pl.UInt64), [T]),
        (pl.Series([1704187800000001000]), ["2024-01-02T09:30:00.000001"]),
        (pl.Series([1704187800.25]), ["2024-01-02T09:30:00.250000"]),
        (pl.Series([float("nan"), 1e300, -5.0, 0.0]), ["unreadable"] * 4),
        (pl.Series([20240102, 20240230]), ["2024-01-02T00:00:00", "unreadable"]),
        (pl.Series([date(2024, 1, 2), None]), ["2024-01-02T00:00:00", None]),
        (pl.Series([datetime(2024, 1, 2, 9, 30, tzinfo=UTC), None]), [T, None]),
        (pl.Series([T]).str.to_datetime(), ["naive_time"]),
        (pl.Series([None, None]), [None, None]),
    ],
)
def test_times_of_other_types(cells, instants):
    assert times(cells) == instants


@pytest.mark.parametrize(
    ("cell", "instant"),
    [
        ("2024-01-02 04:30:00", T),
        ("2024-01-02T04:30", T),
        ("20240102 043000", T),
        ("2024.01.02 04:30", T),
        ("2024-07-02 04:30:00.5", "2024-07-02T08:30:00.500000"),
        ("2024-01-02T04:30:00-05:00", T),
        ("2024-01-02", "2024-01-02T05:00:00"),
        ("2024-03-10 02:30:00", "nonexistent_time"),
        ("2024-11-03 01:30:00", "ambiguous_time"),
        ("1066-10-14", "out_of_years"),
        ("1066-10-14 09:00", "out_of_years"),
    ],
)
def test_wall_clock_times_of_files(cell, instant):
    assert times([cell], timezone="America/New_York") == [instant]
    assert times([cell, "1704187800"], timezone="America/New_York") == [instant, T]


def test_dates_start_where_midnight_was_skipped():
    assert times(["2018-11-04"], timezone="America/Sao_Paulo") == ["2018-11-04T03:00:00"]
    assert times(pl.Series([date(2018, 11, 4)]), timezone="America/Sao_Paulo") == ["2018-11-04T03:00:00"]


@pytest.mark.parametrize(
    ("pattern", "cell", "instant"),
    [
        ("%d/%m/%Y", "02/01/2024", "2024-01-02T00:00:00"),
        ("%m/%d/%Y %I:%M %p", "01/02/2024 09:30 AM", T),
        ("%d.%m.%Y %H:%M:%S %z", "02.01.2024 10:30:00 +0100", T),
        ("%d/%m/%Y", "2024-01-02", "unreadable"),
        ("nonsense %", "02/01/2024", "unreadable"),
    ],
)
def test_patterns(pattern, cell, instant):
    assert times([cell, cell, ""], ts_format=pattern, timezone="UTC") == [instant, instant, None]


def test_a_date_and_a_time_of_day_make_a_time():
    mapping = {"ts": "Date+Time"}
    for day in (["2024.01.02"], [date(2024, 1, 2)], [20240102]):
        found = table(
            {"Date": day, "Time": ["04:30"]},
            mapping=mapping,
            timezone="America/New_York",
            constants=ONE_SERIES,
        )
        assert [g.rows.stamp[0].item().isoformat() for g in found.groups()] == [T]
    whole = table({"Date+Time": ["2024-01-02T09:30:00Z"]}, mapping=mapping, constants=ONE_SERIES)
    assert [g.rows.stamp[0].item().isoformat() for g in whole.groups()] == [T]


@settings(max_examples=60)
@given(
    st.lists(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)), min_size=1, max_size=8),
    st.sampled_from(["s", "ms", "us"]),
)
def test_every_spelling_of_an_instant_is_the_same(instants, unit):
    exact = [
        moment.replace(
            microsecond={"s": 0, "ms": moment.microsecond // 1000 * 1000}.get(unit, moment.microsecond)
        )
        for moment in instants
    ]
    cells = [f"{moment.isoformat(timespec='microseconds')}Z" for moment in exact]
    assert times(cells) == [moment.isoformat() for moment in exact]
    late = [moment for moment in exact if moment.year >= 1974]
    scale = {"s": 1, "ms": 1000, "us": 1_000_000}[unit]
    epoch = datetime(1970, 1, 1)
    numbers = [(moment - epoch) // timedelta(microseconds=1) * scale // 1_000_000 for moment in late]
    if late:
        assert times(numbers) == [moment.isoformat() for moment in late]
        assert times(list(map(str, numbers))) == [moment.isoformat() for moment in late]


# Numbers


@pytest.mark.parametrize(
    "text", ["", " ", "N/A", "n/a", "NA", "#N/A", "null", "NULL", "None", "NaN", "nan", ".", "-"]
)
def test_texts_that_say_absent(text):
    assert math.isnan(prices([text])[0])


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (" 1.5 ", 1.5),
        ("+1", 1),
        ("-2", -2),
        (".5", 0.5),
        ("1.", 1),
        ("1e3", 1000),
        ("1E-3", 0.001),
        ("inf", math.inf),
        ("1e400", math.inf),
    ],
)
def test_texts_that_are_numbers(text, number):
    assert prices([text]) == [number]


@pytest.mark.parametrize(
    "text", ["1,234.5", "1.234,5", "1_000", "0x10", "12a", "1 000", "--1", "true", "$5", "٣"]
)
def test_texts_that_are_no_numbers_cost_their_row_only(text):
    found = prices(["1", text, "2"])
    assert found[::2] == [1, 2]
    assert found[1].startswith(f"volume: {text!r} is no number")
    assert ("thousands separators" in found[1]) == ("," in text)


def test_numbers_of_other_types():
    assert prices(pl.Series([1, 2**53 + 1])) == [1, 2**53]
    assert prices(pl.Series(["0.1", "123456789012345.67"]).cast(pl.Decimal(38, 18))) == [
        0.1,
        123456789012345.67,
    ]
    assert math.isnan(prices(pl.Series([None]))[0])
    assert prices(pl.Series([1.5], dtype=pl.Float32)) == [1.5]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_text_is_read_to_the_nearest_double(numbers):
    found = prices([repr(number) for number in numbers])
    assert [struct.pack("<d", f) for f in found] == [struct.pack("<d", n) for n in numbers]


@given(st.lists(st.tuples(st.integers(-(10**17), 10**17), st.integers(-20, 20)), min_size=1, max_size=20))
def test_decimal_text_rounds_as_python_does(parts):
    text = [f"{digits}e{exponent}" for digits, exponent in parts]
    assert prices(text) == [float(Decimal(cell)) for cell in text]


# Totals

CELL = st.sampled_from(["A", "", "2024-01-02", "1", "1d", "x y", "7", "-1", "null", "1e5", "é", "1M"])


@given(rows=st.lists(st.lists(CELL, max_size=8), max_size=15), chunk_rows=st.integers(1, 20))
def test_every_line_ends_in_a_group_or_a_rejection(rows, chunk_rows):
    lines = [row for row in rows if any(row)]
    body = "symbol,interval,ts,open,high,low,close,volume\n" + "".join(",".join(row) + "\n" for row in lines)
    grouped = rejected = 0
    for chunk in read(io.BytesIO(body.encode()), FileFormat.CSV, chunk_rows):
        found = RowTable(chunk, RowOptions())
        inside = sum(len(group.rows) for group in found.groups())
        assert inside + found.rejections.total == len(chunk)
        grouped, rejected = grouped + inside, rejected + found.rejections.total
    assert grouped + rejected == len(lines)
