"""The same bars, asked of the reader and of SQL; and the state of the column index."""

from contextlib import aclosing

from market_data.core.vocabulary import SortOrder
from market_data.repositories.market_price import BarReader
from tests.support.bars import fetch


async def read(database, interval, ranges, **options) -> list[tuple]:
    """What the reader says: position, ts and figures of each bar."""
    found = []
    async with aclosing(BarReader(database).stream(interval, ranges, **options)) as blocks:
        async for block in blocks:
            columns = [column.tolist() for column in block.bars.columns()]
            columns[-1] = [None if volume != volume else volume for volume in columns[-1]]  # noqa: PLR0124 # NaN
            found += zip(block.position.tolist(), *columns, strict=True)
    return found


async def stored(database, ranges, *, sort=SortOrder.ASC, limit=None) -> list[tuple]:
    """What the view of bars says, asked range by range."""
    query = f"""
        SELECT p.ts AT TIME ZONE 'UTC', p.open, p.high, p.low, p.close, p.volume
        FROM v_price p JOIN series s USING (instrument_id, interval, source, basis)
        WHERE s.id = :series AND p.ts >= coalesce(CAST(:start AS timestamptz), '-infinity')
            AND p.ts < coalesce(CAST(:end AS timestamptz), 'infinity')
        ORDER BY p.ts {sort.value}
        """
    found = []
    for one in ranges:
        rows = await fetch(database, query, series=one.series_id, start=one.start, end=one.end)
        found += [(one.position, *row) for row in rows]
    return found[:limit]


async def block_states(database) -> list[tuple[int, bool]]:
    """Number of each block, in order of series and number, and whether it is sealed."""
    return await fetch(
        database,
        "SELECT number, sealed_version IS NOT DISTINCT FROM version FROM price_block "
        "ORDER BY series_id, number",
    )
