"""What is to be kept: instruments of a provider, and when to look after them."""

from datetime import datetime

from sqlalchemy import (
    CheckConstraint,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from market_data.core.interval import Interval
from market_data.core.vocabulary import ScheduleTask
from market_data.db.base import Base
from market_data.models.columns import one_of, stamp


class Schedule(Base):
    """When something is done: by a cron expression, or after an exchange's sessions."""

    __tablename__ = "schedule"
    __table_args__ = (
        one_of("task", ScheduleTask),
        CheckConstraint("name ~ '^[a-z0-9][a-z0-9_.-]{0,63}$'", name="name_form"),
        CheckConstraint("(cron IS NULL) <> (calendar IS NULL)", name="cron_or_calendar"),
        CheckConstraint("delay_minutes BETWEEN 0 AND 1440", name="delay_within_a_day"),
        UniqueConstraint("name"),
        Index("ix_schedule_due", "due_at", postgresql_where=text("active")),
        {"comment": "When things are done"},
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True, comment="Identity")
    name: Mapped[str] = mapped_column(Text, comment="For people")
    task: Mapped[str] = mapped_column(Text, comment="sync, repair or retention")
    cron: Mapped[str | None] = mapped_column(Text, comment="Five fields: minute hour day month weekday")
    timezone: Mapped[str] = mapped_column(
        Text, server_default="UTC", comment="IANA zone in which cron is read"
    )
    calendar: Mapped[str | None] = mapped_column(Text, comment="Exchange after whose sessions it is due")
    delay_minutes: Mapped[int] = mapped_column(server_default=text("0"), comment="How long after their close")
    active: Mapped[bool] = mapped_column(server_default=text("true"), comment="Whether it is followed")
    due_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), comment="When it is due next")
    last_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True), comment="When it was due last")
    created_at: Mapped[datetime] = stamp("When it was added")
    updated_at: Mapped[datetime] = stamp("When it was last changed")


class Subscription(Base):
    """One instrument of one provider at one interval, since a date; the work is planned from it."""

    __tablename__ = "subscription"
    __table_args__ = (
        one_of("interval", Interval),
        CheckConstraint("symbol ~ '^[!-+\\--~]{1,64}$'", name="symbol_printable"),
        CheckConstraint("watchlist ~ '^[a-z0-9][a-z0-9_.-]{0,63}$'", name="watchlist_form"),
        CheckConstraint("failures >= 0", name="failures_not_negative"),
        UniqueConstraint("provider", "symbol", "interval"),
        Index("ix_subscription_due", "due_at", postgresql_where=text("active")),
        Index("ix_subscription_series_id", "series_id"),
        Index("ix_subscription_schedule_id", "schedule_id"),
        {"comment": "What is kept up to date"},
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True, comment="Identity")
    watchlist: Mapped[str] = mapped_column(Text, server_default="default", comment="Name of its list")
    provider: Mapped[str] = mapped_column(Text, comment="Provider name")
    symbol: Mapped[str] = mapped_column(Text, comment="The provider's symbol, case exact")
    interval: Mapped[str] = mapped_column(Text, comment="Span of one bar: 1m 5m 15m 30m 1h 4h 1d 1w 1mo")
    exchange: Mapped[str | None] = mapped_column(Text, comment="Where it trades, if nobody says")
    since: Mapped[datetime] = mapped_column(DateTime(timezone=True), comment="Start of the first bar wanted")
    schedule_id: Mapped[int | None] = mapped_column(
        ForeignKey("schedule.id", ondelete="RESTRICT"), comment="When to look; null: as bars become final"
    )
    series_id: Mapped[int | None] = mapped_column(
        ForeignKey("series.id", ondelete="SET NULL"), comment="Its bars, once the provider has answered"
    )
    active: Mapped[bool] = mapped_column(server_default=text("true"), comment="Whether it is followed")
    due_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now(), comment="When it is looked after next"
    )
    failures: Mapped[int] = mapped_column(server_default=text("0"), comment="Attempts that failed in a row")
    error: Mapped[str | None] = mapped_column(Text, comment="Why the last attempt failed")
    created_at: Mapped[datetime] = stamp("When it was added")
    updated_at: Mapped[datetime] = stamp("When it was last changed")
