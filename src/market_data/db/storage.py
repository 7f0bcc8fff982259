"""How bars lie on disk: in plain tables, or in hypertables of TimescaleDB."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from market_data.db.session import Raw

CHUNKS = {"market_price_intraday": timedelta(days=30), "market_price_daily": timedelta(days=5 * 365)}
"""Time a chunk of each table spans: planning, and the search for newest bars, grow with their number."""


class Home(StrEnum):
    """What kind of server the bars live in."""

    PLAIN = "plain"
    APACHE = "timescaledb-apache"
    FULL = "timescaledb"


@dataclass(frozen=True, slots=True)
class Storage:
    """What the server is, and how the bars lie in it."""

    home: Home
    version: str | None
    """That of the extension, where it is installed."""
    hypertables: frozenset[str] = frozenset()
    """Tables of bars that are hypertables."""

    @property
    def plain_tables(self) -> list[str]:
        """Tables that could be hypertables here, and are not."""
        return [] if self.home is Home.PLAIN else [one for one in CHUNKS if one not in self.hypertables]


_INSTALLED = """
    SELECT (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'),
        current_setting('timescaledb.license', true)
    """
_HYPERTABLES = """
    SELECT hypertable_name::text FROM timescaledb_information.hypertables
    WHERE hypertable_schema = current_schema() AND hypertable_name = ANY($1)
    """
_MAKE = """
    SELECT create_hypertable(
        $1::text::regclass, by_range('ts', $2::interval), create_default_indexes => false)
    """


async def read_storage(raw: Raw) -> Storage:
    """Tell what the server is and how the bars lie in it."""
    version, license_ = await raw.fetchrow(_INSTALLED)
    if version is None:
        return Storage(Home.PLAIN, None)
    found = await raw.fetch(_HYPERTABLES, list(CHUNKS))
    home = Home.FULL if license_ == "timescale" else Home.APACHE
    return Storage(home, version, frozenset(row[0] for row in found))


async def make_hypertable(raw: Raw, table: str, relation: str | None = None) -> None:
    """Turn an empty table of bars, or one like it, into a hypertable; its key is the only index it needs."""
    await raw.execute(_MAKE, relation or table, CHUNKS[table])
