"""The bundled sample: real figures, stored once, through the ordinary ways in."""

from importlib.metadata import PackageNotFoundError

import pytest
from sqlalchemy import text

from market_data.core.exceptions import ConfigurationError
from market_data.etl import sample
from market_data.services.sample import ingest_sample


async def test_stored_once_and_again_only_for_a_new_edition(database, here):
    said: list[str] = []
    await ingest_sample(database, said.append)
    assert [line.partition(", ")[0] for line in said] == [
        "sample ecb: succeeded",
        "sample bokeh_sampledata: succeeded",
    ]
    assert all(line.endswith(" inserted, 0 updated, 0 unchanged, 0 rejected") for line in said)
    async with database.connection() as connection:
        aapl = text(
            "SELECT close, basis, active FROM v_price JOIN instrument ON id = instrument_id "
            "WHERE source = 'bokeh_sampledata' AND v_price.symbol = 'AAPL' "
            "AND ts IN ('2000-06-20', '2000-06-21') ORDER BY ts"
        )
        rows = [tuple(row) for row in await connection.execute(aapl)]
    assert rows == [(101.25, "raw", False), (55.63, "raw", False)]  # a split, as traded
    said.clear()
    await ingest_sample(database, said.append)
    assert [line.partition(" by run")[0] for line in said] == [
        "sample ecb: stored",
        "sample bokeh_sampledata: stored",
    ]
    said.clear()
    here.setattr(sample, "sample_version", lambda: "another edition")
    await ingest_sample(database, said.append)
    assert [": succeeded, 0 inserted, 0 updated" in line for line in said] == [True, True]


def test_missing_packages_are_named(monkeypatch):
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(sample, "version", missing)
    with pytest.raises(ConfigurationError, match=r"needs the package currencyconverter: pip install"):
        sample.sample_version()
