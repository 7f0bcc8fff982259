"""What is priced, and how each provider calls it."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from market_data.core.vocabulary import AssetClass
from market_data.db.base import Base
from market_data.models.columns import one_of, stamp


class Instrument(Base):
    """Identity is the id: tickers are re-used, ids never."""

    __tablename__ = "instrument"
    __table_args__ = (
        CheckConstraint(r"symbol ~ '^[!-+\--~]{1,32}$'", name="symbol_printable"),
        CheckConstraint("exchange ~ '^[A-Za-z0-9._-]{1,16}$'", name="exchange_code"),
        CheckConstraint("currency ~ '^[A-Z0-9]{2,12}$'", name="currency_code"),
        CheckConstraint("isin ~ '^[A-Z]{2}[A-Z0-9]{9}[0-9]$'", name="isin_form"),
        CheckConstraint("figi ~ '^[B-DF-HJ-NP-TV-Z]{2}G[B-DF-HJ-NP-TV-Z0-9]{8}[0-9]$'", name="figi_form"),
        one_of("asset_class", AssetClass),
        Index("uq_instrument_active", "symbol", "exchange", unique=True, postgresql_where=text("active")),
        Index("ix_instrument_symbol_id", "symbol", "id"),
        {"comment": "What is priced. The id is the identity: tickers are re-used, ids never."},
    )

    id: Mapped[int] = mapped_column(
        Identity(always=True), primary_key=True, comment="Identity, never re-used"
    )
    symbol: Mapped[str] = mapped_column(Text, comment="As its venue writes it, case exact")
    exchange: Mapped[str] = mapped_column(
        Text, comment="ISO 10383 MIC or a venue code; FX for currency pairs"
    )
    asset_class: Mapped[str] = mapped_column(
        Text, comment="equity, etf, index, fx, crypto, future, fund, rate"
    )
    currency: Mapped[str] = mapped_column(Text, comment="ISO 4217, GBX for pence, or an asset code")
    name: Mapped[str | None] = mapped_column(Text, comment="For people")
    isin: Mapped[str | None] = mapped_column(Text, comment="ISO 6166")
    figi: Mapped[str | None] = mapped_column(Text, comment="OpenFIGI identifier")
    timezone: Mapped[str] = mapped_column(Text, server_default="UTC", comment="IANA zone of its venue")
    active: Mapped[bool] = mapped_column(server_default=text("true"), comment="Whether its symbol is in use")
    created_at: Mapped[datetime] = stamp("When it was added")
    updated_at: Mapped[datetime] = stamp("When it was last changed")


class ProviderSymbol(Base):
    """A provider's own symbol for an instrument."""

    __tablename__ = "provider_symbol"
    __table_args__ = ({"comment": "How each provider calls an instrument"},)

    provider: Mapped[str] = mapped_column(Text, primary_key=True, comment="Provider name")
    symbol: Mapped[str] = mapped_column(Text, primary_key=True, comment="The provider's symbol, case exact")
    instrument_id: Mapped[int] = mapped_column(
        ForeignKey("instrument.id", ondelete="CASCADE"), index=True, comment="What it means"
    )
