"""Cells become numbers or names; one that is present and is neither is told apart from one that is absent."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from market_data.core.bars import Floats
from market_data.core.exceptions import InvalidInput
from market_data.etl.transformers.rejection import Mask

ABSENT = ("", "-", ".", "n/a", "na", "#n/a", "null", "none", "nan")
"""Texts, in any case, by which tools write that there is no value."""


@dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """A column of doubles: NaN where absent or unreadable, the latter marked."""

    values: Floats
    unreadable: Mask


def numbers(cells: pl.Series, name: str) -> Numbers:
    """Read cells as doubles, correctly rounded, from text, integers, decimals or floats.

    Raises:
        InvalidInput: the whole column is of a type that holds no numbers.

    """
    dtype = cells.dtype
    readable = np.zeros(len(cells), np.bool_)
    if dtype.is_decimal():
        cells = cells.cast(pl.String)  # by way of text: dividing the integer would round twice
        dtype = cells.dtype
    if dtype == pl.String:
        return _parsed(cells)
    if not (dtype.is_numeric() or dtype == pl.Null):
        raise InvalidInput(name, f"column {cells.name!r} is of type {dtype}, which holds no numbers")
    return Numbers(_doubles(cells.cast(pl.Float64)), readable)


def _parsed(cells: pl.Series) -> Numbers:
    found = cells.cast(pl.Float64, strict=False)
    doubtful = found.is_null() & cells.is_not_null()
    if doubtful.any():
        cells = absent_as_null(cells)
        found = cells.cast(pl.Float64, strict=False)
        doubtful = found.is_null() & cells.is_not_null()
    return Numbers(_doubles(found), doubtful.to_numpy())


def _doubles(series: pl.Series) -> Floats:
    return np.asarray(series.to_numpy(), np.float64)  # null is NaN there


def absent_as_null(cells: pl.Series) -> pl.Series:
    """Strip text cells, and turn those that say "no value" into null."""
    stripped = cells.str.strip_chars()
    return stripped.set(stripped.str.to_lowercase().is_in(ABSENT), None)


def names(cells: pl.Series, name: str) -> pl.Series:
    """Read cells as names: stripped text, null where empty; a whole number is the text of its digits.

    Raises:
        InvalidInput: the whole column is of a type that holds no names.

    """
    if cells.dtype.is_float() and (cells.is_null() | (cells == cells.round())).all():
        cells = cells.cast(pl.Int64, strict=False)
    if cells.dtype not in (pl.String, pl.Null) and not cells.dtype.is_integer():
        raise InvalidInput(name, f"column {cells.name!r} is of type {cells.dtype}, which holds no names")
    text = cells.cast(pl.String)
    known = text.unique().drop_nulls()
    if (known == known.str.strip_chars()).all() and not (known == "").any():
        return text
    stripped = text.str.strip_chars()
    return stripped.set(stripped == "", None)


def why_no_number(cell: object) -> str:
    """Say what is wrong with a cell that is no number."""
    text = str(cell)
    hint = ""
    if "," in text:
        hint = "; write it without thousands separators and with a decimal point"
    return f"{text[:80]!r} is no number{hint}."
