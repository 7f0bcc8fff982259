"""Instruments, series, bars and runs.

Revision: 0001, after None, 2026-11-22 14:40:01.376306
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _ingestion_run() -> None:
    op.create_table(
        "ingestion_run",
        sa.Column(
            "id",
            sa.Integer(),
            sa.Identity(always=True),
            nullable=False,
            comment="Identity, in order of creation",
        ),
        sa.Column("source", sa.Text(), nullable=False, comment="Provider name, file or api"),
        sa.Column(
            "status",
            sa.Text(),
            nullable=False,
            comment="queued running succeeded partial failed cancelled interrupted",
        ),
        sa.Column(
            "parameters",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="What was asked, without secrets",
        ),
        sa.Column(
            "owner",
            sa.BigInteger(),
            nullable=False,
            comment="Advisory lock its process holds while alive; free means it died",
        ),
        sa.Column("error", sa.Text(), nullable=True, comment="What went wrong, for people"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was asked for",
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True, comment="When work began"),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True, comment="When it ended"),
        sa.Column(
            "inserted",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Bars that were new",
        ),
        sa.Column(
            "updated",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Bars that replaced different ones",
        ),
        sa.Column(
            "unchanged",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Bars that were stored already, untouched",
        ),
        sa.Column(
            "unfinished",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Bars not stored because their span had not ended",
        ),
        sa.Column(
            "rejected",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Rows that broke a rule, all of them",
        ),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'succeeded', 'partial', 'failed', 'cancelled', 'interrupted')",
            name=op.f("ck_ingestion_run_status_known"),
        ),
        sa.CheckConstraint(
            "least(inserted, updated, unchanged, unfinished, rejected) >= 0",
            name=op.f("ck_ingestion_run_counts_not_negative"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ingestion_run")),
        comment="Every ingest: parameters, times, counts, outcome",
    )
    op.create_index(
        "ix_ingestion_run_unfinished",
        "ingestion_run",
        ["status"],
        unique=False,
        postgresql_where=sa.text("finished_at IS NULL"),
    )


def _instrument() -> None:
    op.create_table(
        "instrument",
        sa.Column(
            "id", sa.Integer(), sa.Identity(always=True), nullable=False, comment="Identity, never re-used"
        ),
        sa.Column("symbol", sa.Text(), nullable=False, comment="As its venue writes it, case exact"),
        sa.Column(
            "exchange",
            sa.Text(),
            nullable=False,
            comment="ISO 10383 MIC or a venue code; FX for currency pairs",
        ),
        sa.Column(
            "asset_class",
            sa.Text(),
            nullable=False,
            comment="equity, etf, index, fx, crypto, future, fund, rate",
        ),
        sa.Column("currency", sa.Text(), nullable=False, comment="ISO 4217, GBX for pence, or an asset code"),
        sa.Column("name", sa.Text(), nullable=True, comment="For people"),
        sa.Column("isin", sa.Text(), nullable=True, comment="ISO 6166"),
        sa.Column("figi", sa.Text(), nullable=True, comment="OpenFIGI identifier"),
        sa.Column(
            "timezone", sa.Text(), server_default="UTC", nullable=False, comment="IANA zone of its venue"
        ),
        sa.Column(
            "active",
            sa.Boolean(),
            server_default=sa.text("true"),
            nullable=False,
            comment="Whether its symbol is in use",
        ),
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
            "asset_class IN ('equity', 'etf', 'index', 'fx', 'crypto', 'future', 'fund', 'rate')",
            name=op.f("ck_instrument_asset_class_known"),
        ),
        sa.CheckConstraint("currency ~ '^[A-Z0-9]{2,12}$'", name=op.f("ck_instrument_currency_code")),
        sa.CheckConstraint("exchange ~ '^[A-Za-z0-9._-]{1,16}$'", name=op.f("ck_instrument_exchange_code")),
        sa.CheckConstraint(
            "figi ~ '^[B-DF-HJ-NP-TV-Z]{2}G[B-DF-HJ-NP-TV-Z0-9]{8}[0-9]$'",
            name=op.f("ck_instrument_figi_form"),
        ),
        sa.CheckConstraint("isin ~ '^[A-Z]{2}[A-Z0-9]{9}[0-9]$'", name=op.f("ck_instrument_isin_form")),
        sa.CheckConstraint("symbol ~ '^[!-+\\--~]{1,32}$'", name=op.f("ck_instrument_symbol_printable")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instrument")),
        comment="What is priced. The id is the identity: tickers are re-used, ids never.",
    )
    op.create_index("ix_instrument_symbol_id", "instrument", ["symbol", "id"], unique=False)
    op.create_index(
        "uq_instrument_active",
        "instrument",
        ["symbol", "exchange"],
        unique=True,
        postgresql_where=sa.text("active"),
    )


def _market_price_daily() -> None:
    op.create_table(
        "market_price_daily",
        sa.Column("series_id", sa.Integer(), autoincrement=False, nullable=False, comment="Its series"),
        sa.Column("ts", sa.DateTime(timezone=True), nullable=False, comment="Start of the bar, UTC"),
        sa.Column("open", sa.Double(), nullable=False, comment="First price"),
        sa.Column("high", sa.Double(), nullable=False, comment="Highest price"),
        sa.Column("low", sa.Double(), nullable=False, comment="Lowest price"),
        sa.Column("close", sa.Double(), nullable=False, comment="Last price"),
        sa.Column(
            "volume", sa.Double(), nullable=False, comment="Quantity traded; NaN where the source has none"
        ),
        sa.Column(
            "run_id", sa.Integer(), nullable=False, comment="Ingestion run that wrote this version of the bar"
        ),
        sa.CheckConstraint(
            "low > '-Infinity' AND low <= open AND low <= close AND open <= high AND close <= high AND high < 'Infinity'",
            name=op.f("ck_market_price_daily_prices_in_order"),
        ),
        sa.CheckConstraint(
            "volume >= 0 AND volume <> 'Infinity'", name=op.f("ck_market_price_daily_volume_not_negative")
        ),
        sa.PrimaryKeyConstraint("series_id", "ts", name=op.f("pk_market_price_daily")),
        comment="Bars of a day, a week or a month; read v_price",
    )


def _market_price_intraday() -> None:
    op.create_table(
        "market_price_intraday",
        sa.Column("series_id", sa.Integer(), autoincrement=False, nullable=False, comment="Its series"),
        sa.Column("ts", sa.DateTime(timezone=True), nullable=False, comment="Start of the bar, UTC"),
        sa.Column("open", sa.Double(), nullable=False, comment="First price"),
        sa.Column("high", sa.Double(), nullable=False, comment="Highest price"),
        sa.Column("low", sa.Double(), nullable=False, comment="Lowest price"),
        sa.Column("close", sa.Double(), nullable=False, comment="Last price"),
        sa.Column(
            "volume", sa.Double(), nullable=False, comment="Quantity traded; NaN where the source has none"
        ),
        sa.Column(
            "run_id", sa.Integer(), nullable=False, comment="Ingestion run that wrote this version of the bar"
        ),
        sa.CheckConstraint(
            "low > '-Infinity' AND low <= open AND low <= close AND open <= high AND close <= high AND high < 'Infinity'",
            name=op.f("ck_market_price_intraday_prices_in_order"),
        ),
        sa.CheckConstraint(
            "volume >= 0 AND volume <> 'Infinity'", name=op.f("ck_market_price_intraday_volume_not_negative")
        ),
        sa.PrimaryKeyConstraint("series_id", "ts", name=op.f("pk_market_price_intraday")),
        comment="Bars shorter than a day; read v_price",
    )


def _provider_symbol() -> None:
    op.create_table(
        "provider_symbol",
        sa.Column("provider", sa.Text(), nullable=False, comment="Provider name"),
        sa.Column("symbol", sa.Text(), nullable=False, comment="The provider's symbol, case exact"),
        sa.Column("instrument_id", sa.Integer(), nullable=False, comment="What it means"),
        sa.ForeignKeyConstraint(
            ["instrument_id"],
            ["instrument.id"],
            name=op.f("fk_provider_symbol_instrument_id_instrument"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("provider", "symbol", name=op.f("pk_provider_symbol")),
        comment="How each provider calls an instrument",
    )
    op.create_index(
        op.f("ix_provider_symbol_instrument_id"), "provider_symbol", ["instrument_id"], unique=False
    )


def _rejection() -> None:
    op.create_table(
        "rejection",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Order of refusal"
        ),
        sa.Column("run_id", sa.Integer(), nullable=False, comment="Run that refused it"),
        sa.Column("symbol", sa.Text(), nullable=True, comment="Symbol or id the row named, where known"),
        sa.Column("ts", sa.DateTime(timezone=True), nullable=True, comment="Bar start, where readable"),
        sa.Column("reason", sa.Text(), nullable=False, comment="Stable code of the rule"),
        sa.Column("detail", sa.Text(), nullable=False, comment="The rule and the figures, for people"),
        sa.Column("text", sa.Text(), nullable=False, comment="The row as it came, up to 4 KiB"),
        sa.CheckConstraint("octet_length(text) <= 4096", name=op.f("ck_rejection_text_at_most_4_kib")),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["ingestion_run.id"],
            name=op.f("fk_rejection_run_id_ingestion_run"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rejection")),
        comment="Rows that broke a rule: the first 10,000 of a run",
    )
    op.create_index("ix_rejection_run_id_id", "rejection", ["run_id", "id"], unique=False)


def _series() -> None:
    op.create_table(
        "series",
        sa.Column(
            "id", sa.Integer(), sa.Identity(always=True), nullable=False, comment="First key of every bar"
        ),
        sa.Column("instrument_id", sa.Integer(), nullable=False, comment="What is priced"),
        sa.Column(
            "interval", sa.Text(), nullable=False, comment="Span of one bar: 1m 5m 15m 30m 1h 4h 1d 1w 1mo"
        ),
        sa.Column("source", sa.Text(), nullable=False, comment="Provider name, file or api"),
        sa.Column(
            "basis", sa.Text(), nullable=False, comment="raw, split or split_dividend: what the prices are"
        ),
        sa.Column("first_ts", sa.DateTime(timezone=True), nullable=True, comment="Earliest bar"),
        sa.Column("last_ts", sa.DateTime(timezone=True), nullable=True, comment="Latest bar"),
        sa.Column(
            "bar_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False, comment="Bars stored"
        ),
        sa.Column(
            "version",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Grows with every change of its bars",
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When its bars last changed",
        ),
        sa.CheckConstraint("basis IN ('raw', 'split', 'split_dividend')", name=op.f("ck_series_basis_known")),
        sa.CheckConstraint(
            "interval IN ('1m', '5m', '15m', '30m', '1h', '4h', '1d', '1w', '1mo')",
            name=op.f("ck_series_interval_known"),
        ),
        sa.CheckConstraint("source ~ '^[a-z0-9][a-z0-9_.-]{0,31}$'", name=op.f("ck_series_source_form")),
        sa.CheckConstraint("(bar_count = 0) = (first_ts IS NULL)", name=op.f("ck_series_first_ts_with_bars")),
        sa.CheckConstraint("(bar_count = 0) = (last_ts IS NULL)", name=op.f("ck_series_last_ts_with_bars")),
        sa.CheckConstraint("bar_count >= 0 AND first_ts <= last_ts", name=op.f("ck_series_figures_sane")),
        sa.ForeignKeyConstraint(
            ["instrument_id"],
            ["instrument.id"],
            name=op.f("fk_series_instrument_id_instrument"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_series")),
        sa.UniqueConstraint(
            "instrument_id",
            "interval",
            "source",
            "basis",
            name=op.f("uq_series_instrument_id_interval_source_basis"),
        ),
        comment="Bars of one instrument, interval, source and basis, with figures kept by each write",
    )


def upgrade() -> None:
    _ingestion_run()
    _instrument()
    _market_price_daily()
    _market_price_intraday()
    _provider_symbol()
    _rejection()
    _series()


def downgrade() -> None:
    op.drop_table("series")
    op.drop_table("rejection")
    op.drop_table("provider_symbol")
    op.drop_table("market_price_intraday")
    op.drop_table("market_price_daily")
    op.drop_table("instrument")
    op.drop_table("ingestion_run")
