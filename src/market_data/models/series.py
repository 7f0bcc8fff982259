"""A series: bars of one instrument, interval, source and basis."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Identity,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from market_data.core.interval import Basis, Interval
from market_data.db.base import Base
from market_data.models.columns import one_of, stamp


class Series(Base):
    """Row locks on it serialise writers; its figures are kept in the transaction that writes the bars."""

    __tablename__ = "series"
    __table_args__ = (
        UniqueConstraint("instrument_id", "interval", "source", "basis"),
        CheckConstraint("source ~ '^[a-z0-9][a-z0-9_.-]{0,31}$'", name="source_form"),
        CheckConstraint("(bar_count = 0) = (first_ts IS NULL)", name="first_ts_with_bars"),
        CheckConstraint("(bar_count = 0) = (last_ts IS NULL)", name="last_ts_with_bars"),
        CheckConstraint("bar_count >= 0 AND first_ts <= last_ts", name="figures_sane"),
        one_of("interval", Interval),
        one_of("basis", Basis),
        {"comment": "Bars of one instrument, interval, source and basis, with figures kept by each write"},
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True, comment="First key of every bar")
    instrument_id: Mapped[int] = mapped_column(
        ForeignKey("instrument.id", ondelete="RESTRICT"), comment="What is priced"
    )
    interval: Mapped[str] = mapped_column(Text, comment="Span of one bar: 1m 5m 15m 30m 1h 4h 1d 1w 1mo")
    source: Mapped[str] = mapped_column(Text, comment="Provider name, file or api")
    basis: Mapped[str] = mapped_column(Text, comment="raw, split or split_dividend: what the prices are")
    first_ts: Mapped[datetime | None] = mapped_column(DateTime(timezone=True), comment="Earliest bar")
    last_ts: Mapped[datetime | None] = mapped_column(DateTime(timezone=True), comment="Latest bar")
    bar_count: Mapped[int] = mapped_column(BigInteger, server_default=text("0"), comment="Bars stored")
    version: Mapped[int] = mapped_column(
        BigInteger, server_default=text("0"), comment="Grows with every change of its bars"
    )
    updated_at: Mapped[datetime] = stamp("When its bars last changed")
