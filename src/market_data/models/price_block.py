"""Which version each stretch of a series has, and its bars once more as compressed columns."""

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, ForeignKey, LargeBinary, func
from sqlalchemy.orm import Mapped, mapped_column

from market_data.db.base import Base


class PriceBlock(Base):
    """A block is sealed while its columns were built from its version; the bars' rows stay the truth."""

    __tablename__ = "price_block"
    __table_args__ = (
        {"comment": "Blocks of 1440 intervals of a series: their versions, and an index of columns"},
    )

    series_id: Mapped[int] = mapped_column(
        ForeignKey("series.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
        comment="Its series",
    )
    number: Mapped[int] = mapped_column(
        primary_key=True, autoincrement=False, comment="Its place: blocks since 1970-01-01 UTC"
    )
    version: Mapped[int] = mapped_column(
        BigInteger, comment="Version of the series that last changed a bar of it"
    )
    updated_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.clock_timestamp(), comment="When that was"
    )
    sealed_version: Mapped[int | None] = mapped_column(
        BigInteger, comment="Version its columns were built from; null where there are none"
    )
    columns: Mapped[bytes | None] = mapped_column(
        LargeBinary, comment="Its bars as compressed columns; valid only while sealed_version = version"
    )
