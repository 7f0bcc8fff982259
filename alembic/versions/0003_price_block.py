"""Blocks of a series: what is versioned as one, with room for the column index.

Revision: 0003, after 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# A block has room for 1440 bars.
BLOCK_SECONDS = {
    "market_price_intraday": {"1m": 60, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "4h": 14400},
    "market_price_daily": {"1d": 86400, "1w": 604800, "1mo": 2678400},
}


def _fill(table: str, interval: str, seconds: int) -> None:
    """Give every stretch with bars its block, at the version the series has."""
    op.get_bind().execute(
        sa.text(
            f"""
            INSERT INTO price_block (series_id, number, version)
            SELECT DISTINCT s.id, floor(extract(epoch FROM p.ts) / {1440 * seconds}::bigint)::int, s.version
            FROM series s JOIN {table} p ON p.series_id = s.id
            WHERE s.interval = :interval
            """  # our own names and numbers
        ),
        {"interval": interval},
    )


# HTTP dates have whole seconds: two versions of one series shall never share one.
NEXT_SECOND = """
CREATE FUNCTION next_second(before timestamptz) RETURNS timestamptz LANGUAGE sql VOLATILE
RETURN greatest(clock_timestamp(), date_trunc('second', before) + interval '1 second')
"""


def upgrade() -> None:
    """Create the blocks of what is stored; none is sealed yet."""
    op.execute(NEXT_SECOND)
    op.execute(
        "COMMENT ON FUNCTION next_second IS 'When a series changed now that changed before: a later second'"
    )
    op.execute("REVOKE EXECUTE ON FUNCTION next_second FROM PUBLIC")
    op.create_table(
        "price_block",
        sa.Column("series_id", sa.Integer(), autoincrement=False, nullable=False, comment="Its series"),
        sa.Column(
            "number",
            sa.Integer(),
            autoincrement=False,
            nullable=False,
            comment="Its place: blocks since 1970-01-01 UTC",
        ),
        sa.Column(
            "version",
            sa.BigInteger(),
            nullable=False,
            comment="Version of the series that last changed a bar of it",
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
            comment="When that was",
        ),
        sa.Column(
            "sealed_version",
            sa.BigInteger(),
            nullable=True,
            comment="Version its columns were built from; null where there are none",
        ),
        sa.Column(
            "columns",
            sa.LargeBinary(),
            nullable=True,
            comment="Its bars as compressed columns; valid only while sealed_version = version",
        ),
        sa.ForeignKeyConstraint(
            ["series_id"], ["series.id"], name=op.f("fk_price_block_series_id_series"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("series_id", "number", name=op.f("pk_price_block")),
        comment="Blocks of 1440 intervals of a series: their versions, and an index of columns",
    )
    # The columns are compressed already; rows of the moving edge change every minute, in their page.
    op.execute("ALTER TABLE price_block ALTER COLUMN columns SET STORAGE EXTERNAL")
    op.execute("ALTER TABLE price_block SET (fillfactor = 80)")
    op.execute("COMMENT ON INDEX pk_price_block IS 'Blocks of a series in their order'")
    for table, intervals in BLOCK_SECONDS.items():
        for interval, seconds in intervals.items():
            _fill(table, interval, seconds)


def downgrade() -> None:
    """Drop what upgrade made; rows hold every bar."""
    op.drop_table("price_block")
    op.execute("DROP FUNCTION next_second")
