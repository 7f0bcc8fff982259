"""Adding and updating many instruments from a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from market_data.cli.options import checked
from market_data.cli.output import complain
from market_data.cli.running import opened
from market_data.core.exceptions import (
    InstrumentExists,
    InstrumentInUse,
    InvalidInput,
    UnreadableBody,
    UnsupportedFormat,
)
from market_data.schemas.instrument import InstrumentCreate
from market_data.services.instrument import InstrumentService

Row = dict[str, Any]


def rows_of(file: Path) -> list[Row]:
    """Read a CSV, NDJSON or JSON file, an instrument a row.

    Raises:
        UnreadableBody: not what its ending says.
        UnsupportedFormat: another ending.

    """
    content = file.read_bytes()
    try:
        match file.suffix.lower():
            case ".csv":
                table = pl.read_csv(content, infer_schema=False)
                return [{k: v for k, v in row.items() if v is not None} for row in table.to_dicts()]
            case ".ndjson" | ".jsonl":
                return msgspec.json.Decoder(Row).decode_lines(content)
            case ".json":
                return msgspec.json.decode(content, type=list[Row])
            case _:
                raise UnsupportedFormat(f"{file}: use .csv, .ndjson or .json")
    except (msgspec.DecodeError, UnicodeDecodeError, pl.exceptions.PolarsError) as error:
        raise UnreadableBody(f"{file} cannot be read: {error}") from None


async def load_all(rows: Sequence[Row]) -> dict[str, int]:
    """Store every row by itself, and count what became of them; one that fails says why on stderr."""
    counts = {"added": 0, "updated": 0, "unchanged": 0, "failed": 0}
    async with opened() as database:
        service = InstrumentService(database)
        for number, row in enumerate(rows, 1):
            try:
                counts[await _load_one(service, row)] += 1
            except (InvalidInput, InstrumentExists, InstrumentInUse) as error:
                counts["failed"] += 1
                complain(f"row {number}: {error}")
    return counts


async def _load_one(service: InstrumentService, row: Row) -> str:
    values = checked("instrument", InstrumentCreate, row)
    named = await service.name_symbols([f"{values.exchange}:{values.symbol}"], retired=False)
    found = named[0].instrument
    if found is None:
        await service.create(values.model_dump())
        return "added"
    before = found.updated_at
    after = await service.update(found.id, values.model_dump(exclude_unset=True))
    return "unchanged" if after.updated_at == before else "updated"
