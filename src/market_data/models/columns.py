"""Column helpers the entities share."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, DateTime, func
from sqlalchemy.orm import Mapped, mapped_column


def one_of(column: str, values: Iterable[StrEnum]) -> CheckConstraint:
    """Allow only these words in a text column."""
    words = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({words})", name=f"{column}_known")


def stamp(comment: str, *, nullable: bool = False) -> Mapped[datetime]:
    """Make an instant that is never earlier than its transaction's start by default."""
    default = None if nullable else func.now()
    return mapped_column(DateTime(timezone=True), server_default=default, nullable=nullable, comment=comment)
