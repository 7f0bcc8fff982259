"""A PostgreSQL server of our own under the data folder, shared by every process that needs it."""

from market_data.db.embedded.server import EmbeddedServer

__all__ = ["EmbeddedServer"]
