"""The queue of jobs: tables of PgQueuer in a schema of their own, made and changed by the library."""

from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.qb import (
    QueryBuilderEnvironment,
    QueryQueueBuilder,
    QuerySchedulerBuilder,
)
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.domain.settings import DBSettings, Durability
from pgqueuer.domain.types import Channel

from market_data.db.session import Raw

SCHEMA = "market_data_queue"

# All of them, so that no variable of the environment changes a name.
QUEUE_SETTINGS = DBSettings(
    prefix="",
    db_schema=SCHEMA,
    channel=Channel("market_data_queue"),
    function="fn_pgqueuer_changed",
    statistics_table="pgqueuer_statistics",
    queue_status_type="pgqueuer_status",
    queue_table="pgqueuer",
    queue_table_log="pgqueuer_log",
    trigger="tg_pgqueuer_changed",
    schedules_table="pgqueuer_schedules",
    durability=Durability.durable,
)


def install_script() -> str:
    """Return the statements that make the queue's tables, for a migration."""
    return QueryBuilderEnvironment(QUEUE_SETTINGS).build_install_query()


def queue_of(connection: Raw) -> Queries:
    """Return the queue as the library offers it, over one connection; its transaction is the caller's."""
    return Queries(
        AsyncpgDriver(connection),
        QueryBuilderEnvironment(QUEUE_SETTINGS),
        QueryQueueBuilder(QUEUE_SETTINGS),
        QuerySchedulerBuilder(QUEUE_SETTINGS),
    )
