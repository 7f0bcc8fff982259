"""Jobs, schedules, subscriptions, the ledger of coverage, and what is left to ask providers.

Revision: 0005, after 0004
"""

import sqlalchemy as sa
from alembic import op

from market_data.db.queue import SCHEMA, install_script

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

VIEWS = {
    "v_subscription": (
        "What is kept up to date: how far it is, when it is looked after next, and what is wrong with it",
        """
        SELECT u.id AS subscription_id, u.watchlist, u.provider, u.symbol AS provider_symbol, u.interval, u.since,
               u.active, u.due_at, u.failures, u.error, u.series_id, s.instrument_id, i.symbol, i.exchange, s.source,
               s.basis, s.first_ts, s.last_ts, s.bar_count,
               (SELECT max(c.end_ts) FROM coverage c WHERE c.series_id = s.id AND c.state = 'answered') AS watermark
        FROM subscription u LEFT JOIN series s ON s.id = u.series_id LEFT JOIN instrument i ON i.id = s.instrument_id
        """,
    ),
    "v_coverage": (
        "The ledger: what each source answered when it was asked for the bars of a range",
        """
        SELECT c.series_id, s.instrument_id, i.symbol, i.exchange, s.interval, s.source, s.basis, c.state, c.start_ts,
               c.end_ts, c.noted_at
        FROM coverage c JOIN series s ON s.id = c.series_id JOIN instrument i ON i.id = s.instrument_id
        """,
    ),
    "v_job": (
        "Work that waits, is being done, or was given up",
        f"""
        SELECT j.id AS job_id, split_part(j.entrypoint, ':', 1) AS kind, nullif(split_part(j.entrypoint, ':', 2), '') AS provider,
               CASE j.status WHEN 'picked' THEN 'running' ELSE j.status::text END AS status, j.priority,
               convert_from(j.payload, 'UTF8')::jsonb AS parameters, j.attempts, j.created AS created_at,
               j.execute_after AS due_at, CASE WHEN j.status = 'picked' THEN j.heartbeat END AS heartbeat_at
        FROM {SCHEMA}.pgqueuer j
        """,
    ),
    "v_provider_budget": (
        "Whose turn it is to ask each provider",
        "SELECT account, next_at, blocked_until, requests FROM provider_budget",
    ),
}

# What earlier views have as well is said there.
COLUMNS = {
    "subscription_id": "Identity of the subscription",
    "watchlist": "Name of its list",
    "provider": "Provider name",
    "provider_symbol": "The provider's own symbol",
    "since": "Start of the first bar wanted",
    "due_at": "When it is looked after next; of a job: when it may start",
    "failures": "Attempts that failed in a row",
    "watermark": "Start of the first bar that is not known to be final",
    "state": "answered; no_trade: answered, and nothing is there; failed: no usable answer",
    "start_ts": "Start of the first bar of the range, UTC",
    "end_ts": "Start of the first bar behind it, UTC",
    "noted_at": "When it was last asked",
    "job_id": "Identity of the job",
    "kind": "sync, fetch, repair or retention",
    "priority": "The greater goes first",
    "attempts": "How often it was tried again or put off",
    "heartbeat_at": "Last sign of life of the worker that does it",
    "account": "Provider name, and a digest of the key where it has one",
    "next_at": "First turn that is free",
    "blocked_until": "Until when the provider asked not to be asked",
    "requests": "Turns taken since the beginning",
}

INDEXES = {
    "ix_schedule_due": "Schedules in the order they are due",
    "ix_subscription_due": "Subscriptions in the order they are due",
    "ix_subscription_schedule_id": "What a schedule is for",
    "ix_subscription_series_id": "Which subscription keeps a series",
    "ix_ingestion_run_job_id": "Runs of a job",
    "ix_ingestion_run_subscription_id": "Runs of a subscription in their order",
}

SCHEDULES = (
    ("nightly-repair", "repair", "17 3 * * *", "03:17"),
    ("nightly-retention", "retention", "47 3 * * *", "03:47"),
)


MEASURED = "'ingestion_run', 'rejection'"
MEASURED_TOO = f"{MEASURED}, 'coverage', 'subscription', 'schedule', 'calendar_override', 'provider_budget', 'provider_quota'"


def _measure(before: str, after: str) -> None:
    """Have v_storage tell the size of other tables."""
    told = op.get_bind().scalar(sa.text("SELECT pg_get_functiondef('storage()'::regprocedure)"))
    op.get_bind().exec_driver_sql(told.replace(before, after))


def _for_reader(statement: str) -> None:
    """Run only where the role exists."""
    op.execute(
        "DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'market_data_reader') THEN "
        f"{statement}; END IF; END $$"
    )


def upgrade() -> None:
    """Create tables, the queue, views, and the schedules everybody wants."""
    _create_tables()
    _add_columns()
    _install_queue()
    for view, (comment, query) in VIEWS.items():
        op.execute(f"CREATE VIEW {view} AS {query}")
        op.execute(f"COMMENT ON VIEW {view} IS '{comment}'")
        _comment(view)
    _for_reader(f"GRANT SELECT ON {', '.join(VIEWS)} TO market_data_reader")
    for index, comment in INDEXES.items():
        op.execute(f"COMMENT ON INDEX {index} IS '{comment}'")
    _measure(MEASURED, MEASURED_TOO)
    for name, task, cron, at in SCHEDULES:
        op.execute(
            "INSERT INTO schedule (name, task, cron, due_at) "
            f"VALUES ('{name}', '{task}', '{cron}', date_trunc('day', now(), 'UTC') + interval '1 day {at}')"
        )


def _install_queue() -> None:
    """Let the library make its tables; its script is many statements, which the driver takes and SQLAlchemy not."""
    connection = op.get_bind().connection.dbapi_connection
    connection.run_async(lambda driver: driver.execute(install_script()))
    op.execute(f"COMMENT ON TRIGGER tg_pgqueuer_changed ON {SCHEMA}.pgqueuer IS 'Wakes the workers'")
    op.execute(f"COMMENT ON SCHEMA {SCHEMA} IS 'The queue of jobs: tables of PgQueuer; read v_job'")
    # Every pick and every end of a job is a row of the log, and each is updated once: it wants vacuum often.
    op.execute(f"ALTER TABLE {SCHEMA}.pgqueuer SET (autovacuum_vacuum_scale_factor = 0.05, fillfactor = 70)")


def _comment(view: str) -> None:
    """Say what its columns are; one meaning in every view they stand in."""
    found = op.get_bind().execute(
        sa.text(
            """
            SELECT a.attname, (SELECT min(col_description(o.attrelid, o.attnum)) FROM pg_attribute o
                WHERE o.attrelid IN ('v_instrument'::regclass, 'v_series'::regclass, 'v_run'::regclass)
                AND o.attname = a.attname)
            FROM pg_attribute a WHERE a.attrelid = to_regclass(:view) AND a.attnum > 0
            """
        ),
        {"view": view},
    )
    for column, told in found.all():
        text = COLUMNS.get(column, told).replace("'", "''")
        op.execute(f"COMMENT ON COLUMN {view}.{column} IS '{text}'")


def _create_tables() -> None:
    op.create_table(
        "calendar_override",
        sa.Column("calendar", sa.Text(), nullable=False, comment="Calendar it corrects"),
        sa.Column(
            "day", sa.DateTime(timezone=True), nullable=False, comment="The session's date, at 00:00 UTC"
        ),
        sa.Column(
            "opens_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When trading begins; null: no session",
        ),
        sa.Column("closes_at", sa.DateTime(timezone=True), nullable=True, comment="When it ends"),
        sa.Column("note", sa.Text(), nullable=True, comment="Why"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was noted",
        ),
        sa.CheckConstraint(
            "(opens_at IS NULL) = (closes_at IS NULL)", name=op.f("ck_calendar_override_both_or_none")
        ),
        sa.CheckConstraint("opens_at < closes_at", name=op.f("ck_calendar_override_opens_first")),
        sa.PrimaryKeyConstraint("calendar", "day", name=op.f("pk_calendar_override")),
        comment="Trading days as they really are, where the calendar has them wrong",
    )
    op.create_table(
        "provider_budget",
        sa.Column(
            "account",
            sa.Text(),
            nullable=False,
            comment="Provider name, and a digest of the key where it has one",
        ),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False, comment="First turn that is free"),
        sa.Column(
            "blocked_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Until when the provider asked not to be asked",
        ),
        sa.Column(
            "requests",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Turns taken since the beginning",
        ),
        sa.PrimaryKeyConstraint("account", name=op.f("pk_provider_budget")),
        comment="Whose turn it is to ask each provider, for all workers together",
    )
    op.create_table(
        "schedule",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False, comment="Identity"),
        sa.Column("name", sa.Text(), nullable=False, comment="For people"),
        sa.Column("task", sa.Text(), nullable=False, comment="sync, repair or retention"),
        sa.Column("cron", sa.Text(), nullable=True, comment="Five fields: minute hour day month weekday"),
        sa.Column(
            "timezone",
            sa.Text(),
            server_default="UTC",
            nullable=False,
            comment="IANA zone in which cron is read",
        ),
        sa.Column("calendar", sa.Text(), nullable=True, comment="Exchange after whose sessions it is due"),
        sa.Column(
            "delay_minutes",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="How long after their close",
        ),
        sa.Column(
            "active",
            sa.Boolean(),
            server_default=sa.text("true"),
            nullable=False,
            comment="Whether it is followed",
        ),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False, comment="When it is due next"),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=True, comment="When it was due last"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was added",
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was last changed",
        ),
        sa.CheckConstraint("name ~ '^[a-z0-9][a-z0-9_.-]{0,63}$'", name=op.f("ck_schedule_name_form")),
        sa.CheckConstraint("task IN ('sync', 'repair', 'retention')", name=op.f("ck_schedule_task_known")),
        sa.CheckConstraint("(cron IS NULL) <> (calendar IS NULL)", name=op.f("ck_schedule_cron_or_calendar")),
        sa.CheckConstraint("delay_minutes BETWEEN 0 AND 1440", name=op.f("ck_schedule_delay_within_a_day")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedule")),
        sa.UniqueConstraint("name", name=op.f("uq_schedule_name")),
        comment="When things are done",
    )
    op.create_index(
        "ix_schedule_due", "schedule", ["due_at"], unique=False, postgresql_where=sa.text("active")
    )
    op.create_table(
        "provider_quota",
        sa.Column("account", sa.Text(), nullable=False, comment="Whose"),
        sa.Column(
            "seconds",
            sa.Integer(),
            autoincrement=False,
            nullable=False,
            comment="Length of the period: 3600 or 86400",
        ),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the period began that is counted",
        ),
        sa.Column(
            "used", sa.Integer(), server_default=sa.text("0"), nullable=False, comment="Requests in it"
        ),
        sa.CheckConstraint("used >= 0", name=op.f("ck_provider_quota_used_not_negative")),
        sa.ForeignKeyConstraint(
            ["account"],
            ["provider_budget.account"],
            name=op.f("fk_provider_quota_account_provider_budget"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("account", "seconds", name=op.f("pk_provider_quota")),
        comment="Requests spent of each provider's hourly and daily allowances",
    )
    op.create_table(
        "coverage",
        sa.Column("series_id", sa.Integer(), autoincrement=False, nullable=False, comment="Its series"),
        sa.Column(
            "state",
            sa.Text(),
            nullable=False,
            comment="answered; no_trade: answered, and nothing is there; failed: no usable answer",
        ),
        sa.Column(
            "start_ts",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="Start of the first bar of the range, UTC",
        ),
        sa.Column(
            "end_ts",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="Start of the first bar behind it, UTC",
        ),
        sa.Column(
            "noted_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was last asked",
        ),
        sa.CheckConstraint(
            "state IN ('answered', 'no_trade', 'failed')", name=op.f("ck_coverage_state_known")
        ),
        sa.CheckConstraint("start_ts < end_ts", name=op.f("ck_coverage_range_not_empty")),
        sa.ForeignKeyConstraint(
            ["series_id"], ["series.id"], name=op.f("fk_coverage_series_id_series"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("series_id", "state", "start_ts", name=op.f("pk_coverage")),
        comment="What each source answered when it was asked for bars",
    )
    op.create_table(
        "subscription",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False, comment="Identity"),
        sa.Column(
            "watchlist", sa.Text(), server_default="default", nullable=False, comment="Name of its list"
        ),
        sa.Column("provider", sa.Text(), nullable=False, comment="Provider name"),
        sa.Column("symbol", sa.Text(), nullable=False, comment="The provider's symbol, case exact"),
        sa.Column(
            "interval", sa.Text(), nullable=False, comment="Span of one bar: 1m 5m 15m 30m 1h 4h 1d 1w 1mo"
        ),
        sa.Column("exchange", sa.Text(), nullable=True, comment="Where it trades, if nobody says"),
        sa.Column(
            "since", sa.DateTime(timezone=True), nullable=False, comment="Start of the first bar wanted"
        ),
        sa.Column(
            "schedule_id", sa.Integer(), nullable=True, comment="When to look; null: as bars become final"
        ),
        sa.Column(
            "series_id", sa.Integer(), nullable=True, comment="Its bars, once the provider has answered"
        ),
        sa.Column(
            "active",
            sa.Boolean(),
            server_default=sa.text("true"),
            nullable=False,
            comment="Whether it is followed",
        ),
        sa.Column(
            "due_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it is looked after next",
        ),
        sa.Column(
            "failures",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Attempts that failed in a row",
        ),
        sa.Column("error", sa.Text(), nullable=True, comment="Why the last attempt failed"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was added",
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was last changed",
        ),
        sa.CheckConstraint(
            "interval IN ('1m', '5m', '15m', '30m', '1h', '4h', '1d', '1w', '1mo')",
            name=op.f("ck_subscription_interval_known"),
        ),
        sa.CheckConstraint("symbol ~ '^[!-+\\--~]{1,64}$'", name=op.f("ck_subscription_symbol_printable")),
        sa.CheckConstraint(
            "watchlist ~ '^[a-z0-9][a-z0-9_.-]{0,63}$'", name=op.f("ck_subscription_watchlist_form")
        ),
        sa.CheckConstraint("failures >= 0", name=op.f("ck_subscription_failures_not_negative")),
        sa.ForeignKeyConstraint(
            ["schedule_id"],
            ["schedule.id"],
            name=op.f("fk_subscription_schedule_id_schedule"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["series_id"], ["series.id"], name=op.f("fk_subscription_series_id_series"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscription")),
        sa.UniqueConstraint(
            "provider", "symbol", "interval", name=op.f("uq_subscription_provider_symbol_interval")
        ),
        comment="What is kept up to date",
    )
    op.create_index(
        "ix_subscription_due", "subscription", ["due_at"], unique=False, postgresql_where=sa.text("active")
    )
    op.create_index("ix_subscription_schedule_id", "subscription", ["schedule_id"], unique=False)
    op.create_index("ix_subscription_series_id", "subscription", ["series_id"], unique=False)


def _add_columns() -> None:
    op.add_column(
        "ingestion_run",
        sa.Column(
            "expected",
            sa.BigInteger(),
            nullable=True,
            comment="Bars its range has room for, where that is known",
        ),
    )
    op.add_column(
        "ingestion_run",
        sa.Column("job_id", sa.BigInteger(), nullable=True, comment="Job of the queue that does it"),
    )
    op.add_column(
        "ingestion_run",
        sa.Column("subscription_id", sa.Integer(), nullable=True, comment="What it is done for"),
    )
    op.alter_column(
        "ingestion_run",
        "owner",
        existing_type=sa.BIGINT(),
        comment="Advisory lock its process holds while alive; free: it died; 0: it waits in the queue",
        existing_comment="Advisory lock its process holds while alive; free means it died",
        existing_nullable=False,
    )
    op.create_index(
        "ix_ingestion_run_job_id",
        "ingestion_run",
        ["job_id"],
        unique=False,
        postgresql_where=sa.text("job_id IS NOT NULL"),
    )
    op.create_index(
        "ix_ingestion_run_subscription_id",
        "ingestion_run",
        ["subscription_id", "id"],
        unique=False,
        postgresql_where=sa.text("subscription_id IS NOT NULL"),
    )
    op.create_foreign_key(
        op.f("fk_ingestion_run_subscription_id_subscription"),
        "ingestion_run",
        "subscription",
        ["subscription_id"],
        ["id"],
        ondelete="SET NULL",
    )


def downgrade() -> None:
    """Drop what upgrade made, with whatever waits in the queue."""
    _measure(MEASURED_TOO, MEASURED)
    for view in reversed(VIEWS):
        op.execute(f"DROP VIEW {view}")
    op.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
    op.drop_constraint(
        op.f("fk_ingestion_run_subscription_id_subscription"), "ingestion_run", type_="foreignkey"
    )
    op.drop_index(
        "ix_ingestion_run_subscription_id",
        table_name="ingestion_run",
        postgresql_where=sa.text("subscription_id IS NOT NULL"),
    )
    op.drop_index(
        "ix_ingestion_run_job_id", table_name="ingestion_run", postgresql_where=sa.text("job_id IS NOT NULL")
    )
    op.alter_column(
        "ingestion_run",
        "owner",
        existing_type=sa.BIGINT(),
        comment="Advisory lock its process holds while alive; free means it died",
        existing_comment="Advisory lock its process holds while alive; free: it died; 0: it waits in the queue",
        existing_nullable=False,
    )
    op.drop_column("ingestion_run", "subscription_id")
    op.drop_column("ingestion_run", "job_id")
    op.drop_column("ingestion_run", "expected")
    op.drop_index("ix_subscription_series_id", table_name="subscription")
    op.drop_index("ix_subscription_schedule_id", table_name="subscription")
    op.drop_index("ix_subscription_due", table_name="subscription", postgresql_where=sa.text("active"))
    op.drop_table("subscription")
    op.drop_table("coverage")
    op.drop_table("provider_quota")
    op.drop_index("ix_schedule_due", table_name="schedule", postgresql_where=sa.text("active"))
    op.drop_table("schedule")
    op.drop_table("provider_budget")
    op.drop_table("calendar_override")
