"""The ledger of coverage: what sources answered, and where bars are not."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from market_data.core.interval import Interval
from market_data.core.spans import Span, subtract, union
from market_data.db.session import Raw, Session, raw_connection
from market_data.models import bar_table


class Answer(StrEnum):
    """What the ledger says of a span."""

    ANSWERED = "answered"
    NO_TRADE = "no_trade"
    FAILED = "failed"


_TOUCHING = """
    SELECT start_ts, end_ts FROM coverage
    WHERE series_id = $1 AND state = $2 AND start_ts <= $4 AND end_ts >= $3 ORDER BY start_ts
    """
_FORGET = "DELETE FROM coverage WHERE series_id = $1 AND state = $2 AND start_ts = ANY($3::timestamptz[])"
_WRITE = """
    INSERT INTO coverage (series_id, state, start_ts, end_ts)
    SELECT $1, $2, s.start_ts, s.end_ts
    FROM unnest($3::timestamptz[], $4::timestamptz[]) AS s(start_ts, end_ts)
    """
_WITHIN = """
    SELECT start_ts, end_ts FROM coverage
    WHERE series_id = $1 AND state = $2 AND end_ts > $3 AND start_ts < $4 ORDER BY start_ts
    """


def _breaks_sql(table: str) -> str:
    return f"""
        SELECT bar_end(ts, $2), next FROM (
            SELECT ts, lead(ts) OVER (ORDER BY ts) AS next
            FROM {table} WHERE series_id = $1 AND ts >= $3 AND ts < $4
        ) b WHERE next - ts > $5  -- cheap, and no month is longer
        UNION ALL
        SELECT bar_end(max(ts), $2), $4 FROM {table} WHERE series_id = $1 AND ts >= $3 AND ts < $4
        ORDER BY 1
        """  # noqa: S608 # our own table


def _first_sql(table: str) -> str:
    return f"SELECT min(ts) FROM {table} WHERE series_id = $1 AND ts >= $2 AND ts < $3"  # noqa: S608 # our own


_BREAKS = {interval: _breaks_sql(bar_table(interval)) for interval in Interval}
_FIRST = {interval: _first_sql(bar_table(interval)) for interval in Interval}


class CoverageRepository:
    """One series' ledger. Who writes holds the lock on the series' row, as whoever writes its bars does."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def _raw(self) -> Raw:
        return await raw_connection(await self._session.connection())

    async def spans(self, series_id: int, state: Answer, start: datetime, end: datetime) -> list[Span]:
        """Return what the ledger says between start and end: ascending, disjoint, not cut off there."""
        rows = await (await self._raw()).fetch(_WITHIN, series_id, state, start, end)
        return [Span(*row) for row in rows]

    async def note_answer(self, series_id: int, asked: Span, empty: Sequence[Span]) -> None:
        """Note that the source answered for `asked`, and where in it there is nothing."""
        await self._replace(series_id, Answer.ANSWERED, asked, [asked])
        await self._replace(series_id, Answer.NO_TRADE, asked, empty)
        await self._replace(series_id, Answer.FAILED, asked, [])

    async def note_failure(self, series_id: int, asked: Span) -> None:
        """Note that the source gave no usable answer; what it answered before stands."""
        answered = await self.spans(series_id, Answer.ANSWERED, *asked)
        await self._replace(series_id, Answer.FAILED, asked, subtract([asked], answered))

    async def breaks(self, series_id: int, interval: Interval, span: Span) -> list[Span]:
        """Return where a span has no bars, ascending."""
        raw = await self._raw()
        first = await raw.fetchval(_FIRST[interval], series_id, *span)
        if first is None:
            return [span]
        lead = [Span(span.start, first)] if span.start < first else []
        rows = await raw.fetch(_BREAKS[interval], series_id, str(interval), *span, interval.duration)
        return lead + [Span(*row) for row in rows if row[0] < row[1]]

    async def _replace(self, series_id: int, state: Answer, within: Span, spans: Sequence[Span]) -> None:
        """Let these spans be all that a state has within a span; neighbours that touch are merged."""
        raw = await self._raw()
        before = [Span(*row) for row in await raw.fetch(_TOUCHING, series_id, state, *within)]
        after = union(subtract(before, [within]), spans)
        gone = [one.start for one in before if one not in after]
        new = [one for one in after if one not in before]
        if gone:
            await raw.execute(_FORGET, series_id, state, gone)
        if new:
            await raw.execute(_WRITE, series_id, state, [s.start for s in new], [s.end for s in new])
