"""How far subscriptions are behind, all of them in one statement."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

# Ranges that were answered do not overlap: the last to start is the last to end.
# Nothing is due where the last attempt went well, the next look is ahead and no job waits or is being done.
_READ = text("""
    WITH one AS MATERIALIZED (
        SELECT u.id, u.provider, u.symbol, u.interval, u.failures > 0 AS failing,
            CASE WHEN u.failures = 0 AND u.due_at > now() AND j.id IS NULL THEN 0
            ELSE greatest(0, CAST(extract(epoch FROM now() - bar_end(coalesce(
                (SELECT c.end_ts FROM coverage c WHERE c.series_id = u.series_id AND c.state = 'answered'
                 ORDER BY c.start_ts DESC LIMIT 1), u.since), u.interval))
                AS double precision)) END AS lag
        FROM subscription u
        LEFT JOIN market_data_queue.pgqueuer j ON j.dedupe_key = 'subscription:' || u.id
        WHERE u.active
    )
    SELECT provider, interval, NULL AS symbol, count(*) AS active, count(*) FILTER (WHERE failing) AS failing,
        max(lag) AS longest, percentile_cont(0.5) WITHIN GROUP (ORDER BY lag) AS median
    FROM one GROUP BY provider, interval
    UNION ALL (
        SELECT provider, interval, symbol, 1, CAST(failing AS int), lag, lag FROM one
        ORDER BY lag DESC, id LIMIT :limit
    )
    """)


@dataclass(frozen=True, slots=True)
class Lag:
    """Active subscriptions of a provider and interval, or a single one of them; times in seconds."""

    provider: str
    interval: str
    symbol: str | None
    """None: all of them."""
    active: int
    failing: int
    longest: float
    """Since the first bar that is not known to be final was over; 0 while nothing is due."""
    median: float


class LagRepository:
    """Reads what subscriptions lack."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def list_(self, *, limit: int) -> list[Lag]:
        """Return what holds for each provider and interval, and for each of those furthest behind."""
        return [Lag(*row) for row in await self._session.execute(_READ, {"limit": limit})]
