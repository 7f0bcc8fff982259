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


class ScheduleTask(StrEnum):
    """What a schedule does when it is due."""

    SYNC = "sync"
    """Bring its subscriptions up to date."""
    REPAIR = "repair"
    """Fill the gaps of all subscriptions."""
    RETENTION = "retention"
    """Remove bars older than `RETENTION_DAYS` allows, and the queue's old log."""


class JobKind(StrEnum):
    """What a job in the queue does."""

    SYNC = "sync"
    """Bring one subscription up to date."""
    FETCH = "fetch"
    """Pull what somebody asked for once."""
    REPAIR = "repair"
    """Fill the gaps of one series."""
    RETENTION = "retention"
    """Remove what is too old."""


class JobStatus(StrEnum):
    """Where a job stands; one that ended well is a run and no job any more."""

    QUEUED = "queued"
    RUNNING = "running"
    FAILED = "failed"
    """A dead letter: given up, kept until it is retried or cancelled."""


class JobOutcome(StrEnum):
    """How one attempt at a job ended."""

    DONE = "done"
    CONTINUED = "continued"
    """Something of it is left, and is done next."""
    PUT_OFF = "put_off"
    """The provider is asked too often."""
    RETRIED = "retried"
    """It failed, and is tried again later."""
    FAILED = "failed"
    """It failed, and was given up."""
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    """Its worker ended; another one does it."""


class CoverageState(StrEnum):
    """What is known of a stretch of a series."""

    PRESENT = "present"
    NO_TRADE = "no_trade"
    """Its source was asked and has nothing there."""
    MISSING = "missing"
    """Bars are expected, and nobody knows why they are not there."""
    FAILED = "failed"
    """Its source was asked and gave no usable answer."""
    NOT_YET = "not_yet"
    """Not final yet."""
