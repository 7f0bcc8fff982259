"""Words with one meaning everywhere."""

from enum import StrEnum


class AssetClass(StrEnum):
    """What kind of thing an instrument is."""

    EQUITY = "equity"
    ETF = "etf"
    INDEX = "index"
    FX = "fx"
    CRYPTO = "crypto"
    FUTURE = "future"
    FUND = "fund"
    RATE = "rate"

    @property
    def any_sign(self) -> bool:
        """Whether prices may be zero or negative."""
        return self in {AssetClass.RATE, AssetClass.FUTURE}


class RunStatus(StrEnum):
    """Where an ingestion run stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class SortOrder(StrEnum):
    """Direction of time."""

    ASC = "asc"
    DESC = "desc"


class SymbolStatus(StrEnum):
    """How far a page got with one wanted symbol."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    PENDING = "pending"
    EMPTY = "empty"
    NOT_FOUND = "not_found"
    AMBIGUOUS = "ambiguous"
