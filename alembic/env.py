"""Alembic's entry point: runs on the connection that `market_data.db.migrations` hands over."""

from alembic import context
from sqlalchemy import Connection

import market_data.models  # noqa: F401 # fills the metadata
from market_data.db.base import Base

connection: Connection | None = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("run migrations with `market-data db upgrade`")

context.configure(
    connection=connection, target_metadata=Base.metadata, compare_type=True, compare_server_default=True
)
with context.begin_transaction():
    context.run_migrations()
