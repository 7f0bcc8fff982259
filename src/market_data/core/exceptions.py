"""Everything that can go wrong, as facts that carry data and know no status code.

MarketDataError
├── ConfigurationError            a setting, a port or a data folder stops the start
│   └── DatabaseUnavailable       the server cannot be reached, started or used
│       └── SchemaMismatch        its migrations are older or newer than this program
├── InvalidInput                  what was asked breaks a rule; names the field
│   └── InvalidPageToken          the token is broken or belongs to another query
├── NotFound
│   ├── InstrumentNotFound
│   ├── RunNotFound
│   ├── JobNotFound               it ended, or never was
│   ├── SubscriptionNotFound
│   ├── ScheduleNotFound
│   ├── SeriesNotFound
│   ├── CalendarNotFound
│   ├── OverrideNotFound          the day of a calendar is not corrected
│   └── ProviderNotFound
├── AmbiguousSymbol               several active instruments share the symbol
├── InstrumentExists              (symbol, exchange) is taken by an active instrument
├── InstrumentInUse               stored bars forbid the change
├── ScheduleExists                the name is taken
├── ScheduleInUse                 subscriptions follow it
├── UnreadableBody                a body or file cannot be read to its end
│   └── BodyTooLarge
├── UnsupportedFormat             no reader or writer for this type of data
├── ConcurrentChange              another process changed the same thing first; safe to repeat
└── ProviderError                 an external source failed; `provider` says which
    ├── ProviderAuthError         key missing, wrong, or not entitled
    ├── ProviderRateLimited       asked too often; `retry_after` seconds where it said so
    ├── SymbolNotFound            the provider does not know the symbol
    ├── MalformedAnswer           answered, but not with data we can trust
    ├── UnsupportedRequest        the provider has no such interval or asset
    └── ProviderUnavailable       no answer, or a server error, after all retries
"""

from collections.abc import Mapping, Sequence


class MarketDataError(Exception):
    """Base of every error this program raises on purpose; its text is fit for a user to read."""


class ConfigurationError(MarketDataError):
    """The program cannot start as configured."""


class DatabaseUnavailable(ConfigurationError):
    """The database cannot be reached, started or used."""


class SchemaMismatch(DatabaseUnavailable):
    """The database schema and this program are of different versions."""


class StorageError(MarketDataError):
    """The layout of the bars cannot be changed as asked."""


class InvalidInput(MarketDataError):
    """A value breaks a rule; `field` names it as the user wrote it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class InvalidPageToken(InvalidInput):
    """A page token that is broken or was made by another query."""

    def __init__(self, message: str) -> None:
        super().__init__("page_token", message)


class NotFound(MarketDataError):
    """Something that was named does not exist."""


class InstrumentNotFound(NotFound):
    """No instrument has these symbols or ids; beside them, some may fit several instruments."""

    def __init__(
        self, wanted: Sequence[str | int], ambiguous: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self.wanted = tuple(wanted)
        self.ambiguous = dict(ambiguous or {})
        others = "".join(f"; {symbol} may be {', '.join(c)}" for symbol, c in self.ambiguous.items())
        super().__init__(f"no instrument known as {', '.join(map(str, self.wanted))}{others}")


class RunNotFound(NotFound):
    """No ingestion run has this id."""

    def __init__(self, run_id: int) -> None:
        self.run_id = run_id
        super().__init__(f"no ingestion run {run_id}")


class JobNotFound(NotFound):
    """No job of this id waits, is being done, or was given up."""

    def __init__(self, job_id: int) -> None:
        self.job_id = job_id
        super().__init__(f"no job {job_id}: it ended, or never was; its run tells (GET /ingestions)")


class SubscriptionNotFound(NotFound):
    """No subscription has this id."""

    def __init__(self, subscription_id: int) -> None:
        self.subscription_id = subscription_id
        super().__init__(f"no subscription {subscription_id}")


class ScheduleNotFound(NotFound):
    """No schedule has this id or name."""

    def __init__(self, schedule: int | str) -> None:
        self.schedule = schedule
        super().__init__(f"no schedule {schedule}")


class SeriesNotFound(NotFound):
    """No series has this id."""

    def __init__(self, series_id: int) -> None:
        self.series_id = series_id
        super().__init__(f"no series {series_id}")


class CalendarNotFound(NotFound):
    """No calendar has this name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name = name
        self.known = tuple(known)
        super().__init__(f"no calendar {name[:40]!r}; known are {', '.join(self.known)}")


class OverrideNotFound(NotFound):
    """A day of a calendar is not corrected."""

    def __init__(self, calendar: str, day: str) -> None:
        self.calendar = calendar
        self.day = day
        super().__init__(f"{day} of {calendar} is not corrected")


class ScheduleExists(MarketDataError):
    """A schedule already has this name."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"a schedule named {name!r} exists already")


class ScheduleInUse(MarketDataError):
    """Subscriptions follow a schedule that was to be removed."""

    def __init__(self, schedule_id: int, count: int) -> None:
        self.schedule_id = schedule_id
        super().__init__(f"{count} subscriptions follow schedule {schedule_id}: give them another first")


class ProviderNotFound(NotFound):
    """No provider has this name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name = name
        self.known = tuple(known)
        super().__init__(f"no provider {name!r}; known are {', '.join(self.known)}")


class AmbiguousSymbol(MarketDataError):
    """A symbol fits several instruments; `candidates` are their exchange:symbol names."""

    def __init__(self, symbols: Mapping[str, Sequence[str]]) -> None:
        self.symbols = {symbol: tuple(candidates) for symbol, candidates in symbols.items()}
        which = "; ".join(f"{s} may be {', '.join(c)}" for s, c in self.symbols.items())
        super().__init__(f"several instruments fit: {which}. Write exchange:symbol")


class InstrumentExists(MarketDataError):
    """An active instrument already has this symbol on this exchange."""

    def __init__(self, symbol: str, exchange: str) -> None:
        self.symbol = symbol
        self.exchange = exchange
        super().__init__(f"an active instrument {exchange}:{symbol} exists already")


class InstrumentInUse(MarketDataError):
    """Stored bars forbid what was asked of their instrument."""


class UnreadableBody(MarketDataError):
    """A body or file that cannot be read to its end in its declared format."""


class BodyTooLarge(UnreadableBody):
    """A body over the configured limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"the body is larger than {limit} bytes (MAX_BODY_BYTES); send it in parts")


class UnsupportedFormat(MarketDataError):
    """No reader or writer handles this type of data."""


class ConcurrentChange(MarketDataError):
    """Another process changed the same thing at the same moment; repeating is safe."""


class ProviderError(MarketDataError):
    """An external source failed; the text never holds a secret."""

    kind = "provider_error"

    def __init__(self, provider: str, message: str) -> None:
        super().__init__(f"{provider}: {message}")
        self.provider = provider


class ProviderAuthError(ProviderError):
    """The key is missing, wrong, or not entitled to what was asked."""

    kind = "auth"


class ProviderRateLimited(ProviderError):
    """The provider refuses more requests for now."""

    kind = "rate_limited"

    def __init__(self, provider: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(provider, message)
        self.retry_after = retry_after


class SymbolNotFound(ProviderError):
    """The provider does not know the symbol, or has nothing under it."""

    kind = "not_found"


class MalformedAnswer(ProviderError):
    """The provider answered with something that is not the data it documents."""

    kind = "malformed"


class UnsupportedRequest(ProviderError):
    """The provider does not offer this interval, asset or range."""

    kind = "unsupported"


class ProviderUnavailable(ProviderError):
    """No usable answer after all retries."""

    kind = "unavailable"
