"""Ingestion runs and the rows they refused."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, Identity, Index, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from market_data.core.vocabulary import RunStatus
from market_data.db.base import Base
from market_data.models.columns import one_of, stamp


def _count(comment: str) -> Mapped[int]:
    return mapped_column(BigInteger, server_default=text("0"), comment=comment)


class IngestionRun(Base):
    """One ingest: what was asked, what came of it."""

    __tablename__ = "ingestion_run"
    __table_args__ = (
        one_of("status", RunStatus),
        CheckConstraint(
            "least(inserted, updated, unchanged, unfinished, rejected) >= 0", name="counts_not_negative"
        ),
        Index("ix_ingestion_run_unfinished", "status", postgresql_where=text("finished_at IS NULL")),
        Index("ix_ingestion_run_job_id", "job_id", postgresql_where=text("job_id IS NOT NULL")),
        Index(
            "ix_ingestion_run_subscription_id",
            "subscription_id",
            "id",
            postgresql_where=text("subscription_id IS NOT NULL"),
        ),
        {"comment": "Every ingest: parameters, times, counts, outcome"},
    )

    id: Mapped[int] = mapped_column(
        Identity(always=True), primary_key=True, comment="Identity, in order of creation"
    )
    source: Mapped[str] = mapped_column(Text, comment="Provider name, file or api")
    status: Mapped[str] = mapped_column(
        Text, comment="queued running succeeded partial failed cancelled interrupted"
    )
    parameters: Mapped[dict[str, Any]] = mapped_column(JSONB, comment="What was asked, without secrets")
    owner: Mapped[int] = mapped_column(
        BigInteger,
        comment="Advisory lock its process holds while alive; free: it died; 0: it waits in the queue",
    )
    error: Mapped[str | None] = mapped_column(Text, comment="What went wrong, for people")
    created_at: Mapped[datetime] = stamp("When it was asked for")
    started_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True), comment="When work began")
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True), comment="When it ended")
    inserted: Mapped[int] = _count("Bars that were new")
    updated: Mapped[int] = _count("Bars that replaced different ones")
    unchanged: Mapped[int] = _count("Bars that were stored already, untouched")
    unfinished: Mapped[int] = _count("Bars not stored because their span had not ended")
    rejected: Mapped[int] = _count("Rows that broke a rule, all of them")
    expected: Mapped[int | None] = mapped_column(
        BigInteger, comment="Bars its range has room for, where that is known"
    )
    job_id: Mapped[int | None] = mapped_column(BigInteger, comment="Job of the queue that does it")
    subscription_id: Mapped[int | None] = mapped_column(
        ForeignKey("subscription.id", ondelete="SET NULL"), comment="What it is done for"
    )


class Rejection(Base):
    """A row that broke a rule, as it came."""

    __tablename__ = "rejection"
    __table_args__ = (
        CheckConstraint("octet_length(text) <= 4096", name="text_at_most_4_kib"),
        Index("ix_rejection_run_id_id", "run_id", "id"),
        {"comment": "Rows that broke a rule: the first 10,000 of a run"},
    )

    id: Mapped[int] = mapped_column(
        BigInteger, Identity(always=True), primary_key=True, comment="Order of refusal"
    )
    run_id: Mapped[int] = mapped_column(
        ForeignKey("ingestion_run.id", ondelete="CASCADE"), comment="Run that refused it"
    )
    symbol: Mapped[str | None] = mapped_column(Text, comment="Symbol or id the row named, where known")
    ts: Mapped[datetime | None] = mapped_column(DateTime(timezone=True), comment="Bar start, where readable")
    reason: Mapped[str] = mapped_column(Text, comment="Stable code of the rule")
    detail: Mapped[str] = mapped_column(Text, comment="The rule and the figures, for people")
    text: Mapped[str] = mapped_column(Text, comment="The row as it came, up to 4 KiB")
