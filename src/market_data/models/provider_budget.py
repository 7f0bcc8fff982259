"""How often each provider may still be asked, by all processes together."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from market_data.db.base import Base


class ProviderBudget(Base):
    """What is left to ask a provider with one key; every worker takes its turn here."""

    __tablename__ = "provider_budget"
    __table_args__ = ({"comment": "Whose turn it is to ask each provider, for all workers together"},)

    account: Mapped[str] = mapped_column(
        Text, primary_key=True, comment="Provider name, and a digest of the key where it has one"
    )
    next_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), comment="First turn that is free")
    blocked_until: Mapped[datetime | None] = mapped_column(
        DateTime(timezone=True), comment="Until when the provider asked not to be asked"
    )
    requests: Mapped[int] = mapped_column(
        BigInteger, server_default=text("0"), comment="Turns taken since the beginning"
    )


class ProviderQuota(Base):
    """Requests spent of an hourly or daily allowance."""

    __tablename__ = "provider_quota"
    __table_args__ = (
        CheckConstraint("used >= 0", name="used_not_negative"),
        {"comment": "Requests spent of each provider's hourly and daily allowances"},
    )

    account: Mapped[str] = mapped_column(
        ForeignKey("provider_budget.account", ondelete="CASCADE"), primary_key=True, comment="Whose"
    )
    seconds: Mapped[int] = mapped_column(
        primary_key=True, autoincrement=False, comment="Length of the period: 3600 or 86400"
    )
    started_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), comment="When the period began that is counted"
    )
    used: Mapped[int] = mapped_column(server_default=text("0"), comment="Requests in it")
