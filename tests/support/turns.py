"""A process that takes turns with others: `python turns.py URL ACCOUNT STEP_MICROSECONDS TASKS TURNS`.

Prints the turns it got, in microseconds of the epoch, one a line; each of its tasks takes TURNS of them.
"""

import asyncio
import sys
from datetime import UTC, datetime, timedelta

from market_data.db.session import Database
from market_data.repositories.provider_budget import ProviderBudgetRepository, Rate, Turns

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


async def take(database: Database, account: str, rate: Rate, turns: int) -> list[int]:
    """Take turns as fast as they are given; stop at the first that is refused."""
    taken = []
    for _ in range(turns):
        async with database.session() as session:
            found = await ProviderBudgetRepository(session).reserve(account, rate)
        if not isinstance(found, Turns):
            break
        taken.append((found.at - EPOCH) // MICROSECOND)
    return taken


async def main(url: str, account: str, step: int, tasks: int, turns: int, quota: int = 0) -> None:
    rate = Rate(
        step=timedelta(microseconds=step),
        patience=timedelta(hours=1),
        quotas={timedelta(days=1): quota} if quota else {},
    )
    database = Database(url)
    for taken in await asyncio.gather(*(take(database, account, rate, turns) for _ in range(tasks))):
        print(*taken, sep="\n")
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])))
