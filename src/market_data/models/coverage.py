"""What is known of the time between bars: the ledger of answers, and corrections of calendars."""

from datetime import datetime

from sqlalchemy import CheckConstraint, DateTime, ForeignKey, Text
from sqlalchemy.orm import Mapped, mapped_column

from market_data.db.base import Base
from market_data.models.columns import stamp


class Coverage(Base):
    """The ledger: what a source answered when it was asked; bars themselves say what is present."""

    __tablename__ = "coverage"
    __table_args__ = (
        CheckConstraint("state IN ('answered', 'no_trade', 'failed')", name="state_known"),
        CheckConstraint("start_ts < end_ts", name="range_not_empty"),
        {"comment": "What each source answered when it was asked for bars"},
    )

    series_id: Mapped[int] = mapped_column(
        ForeignKey("series.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
        comment="Its series",
    )
    state: Mapped[str] = mapped_column(
        Text,
        primary_key=True,
        comment="answered; no_trade: answered, and nothing is there; failed: no usable answer",
    )
    start_ts: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), primary_key=True, comment="Start of the first bar of the range, UTC"
    )
    end_ts: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), comment="Start of the first bar behind it, UTC"
    )
    noted_at: Mapped[datetime] = stamp("When it was last asked")


class CalendarOverride(Base):
    """A day on which a calendar of the library is known to be wrong, or news came after it was made."""

    __tablename__ = "calendar_override"
    __table_args__ = (
        CheckConstraint("(opens_at IS NULL) = (closes_at IS NULL)", name="both_or_none"),
        CheckConstraint("opens_at < closes_at", name="opens_first"),
        {"comment": "Trading days as they really are, where the calendar has them wrong"},
    )

    calendar: Mapped[str] = mapped_column(Text, primary_key=True, comment="Calendar it corrects")
    day: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), primary_key=True, comment="The session's date, at 00:00 UTC"
    )
    opens_at: Mapped[datetime | None] = mapped_column(
        DateTime(timezone=True), comment="When trading begins; null: no session"
    )
    closes_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True), comment="When it ends")
    note: Mapped[str | None] = mapped_column(Text, comment="Why")
    created_at: Mapped[datetime] = stamp("When it was noted")
