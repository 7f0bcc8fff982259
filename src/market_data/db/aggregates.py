"""Continuous aggregates of minutes, where the server has TimescaleDB's full edition: for SQL and dashboards.

The API makes longer bars by itself and never reads these. Each is made of the one before, so that a refresh
reads little. TimescaleDB notes which windows were written to, whoever wrote them, and refreshes just those.
"""

from market_data.db.session import Database, Raw
from market_data.db.storage import Home, read_storage

_BUCKETS = {
    "5m": "5 minutes",
    "15m": "15 minutes",
    "30m": "30 minutes",
    "1h": "1 hour",
    "4h": "4 hours",
}
AGGREGATES = tuple(f"market_price_{interval}" for interval in _BUCKETS)
"""In the order in which they are made of each other."""
REFRESH_LOCK = 0x6D64_0006
"""Advisory lock held while refreshing ("md", purpose 6)."""
_OF_MINUTES = """
    CREATE MATERIALIZED VIEW {name} WITH (timescaledb.continuous, timescaledb.materialized_only = true) AS
    SELECT p.series_id, time_bucket('{bucket}', p.ts) AS ts, first(p.open, p.ts) AS open, max(p.high) AS high,
        min(p.low) AS low, last(p.close, p.ts) AS close,
        sum(p.volume) FILTER (WHERE p.volume <> 'NaN') AS volume
    FROM market_price_intraday p JOIN series s ON s.id = p.series_id
    WHERE s.interval = '1m'
    GROUP BY p.series_id, time_bucket('{bucket}', p.ts)
    WITH NO DATA
    """
_OF_SHORTER = """
    CREATE MATERIALIZED VIEW {name} WITH (timescaledb.continuous, timescaledb.materialized_only = true) AS
    SELECT series_id, time_bucket('{bucket}', b.ts) AS ts, first(open, b.ts) AS open, max(high) AS high,
        min(low) AS low, last(close, b.ts) AS close, sum(volume) AS volume
    FROM {base} b
    GROUP BY series_id, time_bucket('{bucket}', b.ts)
    WITH NO DATA
    """
_EXISTING = (
    "SELECT view_name::text FROM timescaledb_information.continuous_aggregates WHERE view_name = ANY($1)"
)
_REFRESH = """
    CALL refresh_continuous_aggregate(
        $1::text::regclass, NULL, NULL, options => '{"buckets_per_batch": 0}')  -- at once: batches are tiny
    """
_PART = """
    SELECT s.instrument_id, i.symbol, i.exchange, i.asset_class, i.currency, '{interval}'::text AS interval,
        s.source, s.basis, p.ts, p.open, p.high, p.low, p.close, p.volume
    FROM market_price_{interval} p
    JOIN series s ON s.id = p.series_id JOIN instrument i ON i.id = s.instrument_id
    """
_VIEW = "CREATE OR REPLACE VIEW v_price_aggregate AS {parts}"
_ABOUT_VIEW = "Bars of 5m to 4h made of stored minutes; only where TimescaleDB refreshes them"
_ABOUT = {
    "series_id": "The series of minutes it is made of",
    "instrument_id": "Identity of the instrument, never re-used",
    "symbol": "As its venue writes it, case exact",
    "exchange": "ISO 10383 MIC or a venue code; FX for currency pairs",
    "asset_class": "equity, etf, index, fx, crypto, future, fund, rate",
    "currency": "ISO 4217, GBX for pence, or an asset code",
    "interval": "Span of one bar: 5m 15m 30m 1h 4h",
    "source": "Provider name, file or api",
    "basis": "raw, split or split_dividend: what the prices are",
    "ts": "Start of the bar, UTC",
    "open": "First price",
    "high": "Highest price",
    "low": "Lowest price",
    "close": "Last price",
    "volume": "Sum of the quantities traded; null where no minute has one",
}
_READER = """
    DO $$ BEGIN
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'market_data_reader') THEN
            GRANT SELECT ON v_price_aggregate TO market_data_reader;
        END IF;
    END $$
    """


async def make_aggregates(raw: Raw) -> None:
    """Create the aggregates that are missing, empty, and the view over all of them."""
    there = {row[0] for row in await raw.fetch(_EXISTING, list(AGGREGATES))}
    if there == set(AGGREGATES):
        return
    bases = ("", *AGGREGATES[:-1])
    for base, name, (interval, bucket) in zip(bases, AGGREGATES, _BUCKETS.items(), strict=True):
        if name not in there:
            made = _OF_SHORTER if base else _OF_MINUTES
            await raw.execute(made.format(name=name, bucket=bucket, base=base))
            await _comment(raw, name, f"Bars of {interval} made of stored minutes")
    parts = " UNION ALL ".join(_PART.format(interval=interval) for interval in _BUCKETS)
    await raw.execute(_VIEW.format(parts=parts))
    await _comment(raw, "v_price_aggregate", _ABOUT_VIEW)
    await raw.execute(_READER)


async def _comment(raw: Raw, view: str, about: str) -> None:
    await raw.execute(f"COMMENT ON VIEW {view} IS '{about}'")
    query = "SELECT attname::text FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0"
    for (column,) in await raw.fetch(query, view):
        await raw.execute(f"COMMENT ON COLUMN {view}.{column} IS '{_ABOUT[column]}'")


async def drop_aggregates(raw: Raw) -> None:
    """Remove them, for what they are made of is about to go."""
    if (await read_storage(raw)).home is Home.FULL:
        await raw.execute("DROP VIEW IF EXISTS v_price_aggregate")
        for name in reversed(AGGREGATES):
            await raw.execute(f"DROP MATERIALIZED VIEW IF EXISTS {name}")


async def refresh_aggregates(database: Database) -> bool:
    """Refresh every window that was written to since the last time; False where there are no aggregates."""
    raw = await database.connect()
    try:
        if (await read_storage(raw)).home is not Home.FULL:
            return False
        # Who finds nothing left to do while another process is still at it would return too early.
        await raw.fetchval("SELECT pg_advisory_lock($1)", REFRESH_LOCK)
        there = {row[0] for row in await raw.fetch(_EXISTING, list(AGGREGATES))}
        for name in AGGREGATES:
            if name in there:
                await raw.execute(_REFRESH, name)
        return bool(there)
    finally:
        await raw.close()
