"""Bars to bytes, one module per format; all take the same blocks of columns.

An encoder is fed blocks and returns bytes, so the same one serves a stream, a collected page and a file.
"""

from market_data.api.encoders.arrow import ArrowEncoder
from market_data.api.encoders.base import Encoder
from market_data.api.encoders.columns import ColumnsEncoder
from market_data.api.encoders.csv import CsvEncoder
from market_data.api.encoders.json import JsonEncoder
from market_data.api.encoders.ndjson import NdjsonEncoder
from market_data.api.encoders.parquet import ParquetEncoder

ENCODERS: dict[str, type[Encoder]] = {
    encoder.name: encoder
    for encoder in (JsonEncoder, ColumnsEncoder, NdjsonEncoder, CsvEncoder, ArrowEncoder, ParquetEncoder)
}

__all__ = ["ENCODERS", "Encoder"]
