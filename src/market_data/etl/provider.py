"""What a provider is: one file in `etl/clients/` holding one `ProviderClient` subclass.

A client knows its vendor and nothing else: it turns a `BarRequest` into pages of `RawBars`. What it can do is
declared data (`ProviderSpec`), from which settings, documentation, command line and contract test follow.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ClassVar

import httpx2
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from market_data.core import clock
from market_data.core.exceptions import ProviderError, UnsupportedRequest
from market_data.core.interval import Alignment, Basis, Interval
from market_data.core.vocabulary import AssetClass
from market_data.etl.http import HttpClient
from market_data.etl.raw import RawBars

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
"""The periods of quotas."""


@dataclass(frozen=True, slots=True)
class Quota:
    """An allowance of requests in a period, `HOUR` or `DAY`, beside the pace of a minute."""

    requests: int
    per: timedelta


class ProviderSettings(BaseSettings):
    """Base of a provider's own settings; a subclass sets `env_prefix` (such as `BINANCE_`) and `base_url`."""

    model_config = SettingsConfigDict(
        env_file=".env",
        extra="ignore",
        env_ignore_empty=True,
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    base_url: str = Field(description="Server to ask; point it at a proxy or a recorded server.")
    requests_per_minute: float | None = Field(
        default=None,
        gt=0,
        le=1_000_000,
        description="Pace of requests; unset: what the provider allows everyone.",
    )
    requests_per_hour: int | None = Field(
        default=None,
        gt=0,
        le=1_000_000_000,
        description="Requests in an hour that your plan allows; unset: what the provider allows everyone.",
    )
    requests_per_day: int | None = Field(
        default=None,
        gt=0,
        le=1_000_000_000,
        description="Requests in a day that your plan allows; unset: what the provider allows everyone.",
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: object) -> None:
        """Keep the description of `base_url`, which a subclass redefines to give its own default."""
        super().__pydantic_init_subclass__(**kwargs)
        own, inherited = cls.model_fields["base_url"], ProviderSettings.model_fields["base_url"]
        own.description = own.description or inherited.description

    @field_validator("base_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return value.rstrip("/")

    def quotas(self, spec: "ProviderSpec") -> tuple[Quota, ...]:
        """Return what may be asked in each period that `spec` limits: as set here, else as everyone may.

        A period without a quota has none by a setting either.
        """
        own = {HOUR: self.requests_per_hour, DAY: self.requests_per_day}
        return tuple(Quota(own.get(quota.per) or quota.requests, quota.per) for quota in spec.quotas)

    def transport(self) -> httpx2.AsyncBaseTransport | None:
        """Return what answers instead of the network, for data in a folder; None is the network.

        Raises:
            ConfigurationError: what the settings name is not there.

        """
        return None

    def secrets(self) -> tuple[str, ...]:
        """Return the values of all secret fields that are set."""
        values = (getattr(self, name) for name in type(self).model_fields)
        found = (value.get_secret_value().strip() for value in values if isinstance(value, SecretStr))
        return tuple(value for value in found if value)


class KeyedSettings(ProviderSettings):
    """Settings of a provider that has an API key."""

    api_key: SecretStr | None = Field(default=None, description="Key the provider gave you.")

    @property
    def key(self) -> str:
        """The key in the clear, for a request; empty when there is none."""
        return self.api_key.get_secret_value().strip() if self.api_key else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSpec:
    """What a provider offers, as data."""

    name: str
    """Lower-case letters and digits; the `source` of its bars."""
    title: str
    covers: str
    """One line for people: which instruments, since when."""
    homepage: str
    bases: Mapping[Interval, Basis]
    """The intervals it has, and what its prices are in each."""
    asset_classes: tuple[AssetClass, ...]
    requests_per_minute: float
    needs_key: bool = False
    quotas: tuple[Quota, ...] = ()
    """What everyone may ask in an hour or a day, where that is limited."""
    page_bars: int | None = None
    """Most bars of one answer; None: all there are."""
    history: Mapping[Interval, timedelta] = field(default_factory=dict)
    """How far back from now it has bars, by interval; not named: as far as its bars go."""
    settling: timedelta = timedelta(0)
    """How long after its end a bar may still change: it is final, and stored, only then."""
    overlap: int = 5
    """Bars asked for again with each increment, because the provider corrects what it has published."""
    timezone: str | None = "UTC"
    """IANA zone in which `1d` and longer bars take their date; None: that of the instrument's exchange."""
    alignment: Alignment = Alignment.UTC
    """Where its intraday bars start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BarRequest:
    """Bars wanted: the provider's own symbol, and start inclusive, end exclusive, aware UTC or open."""

    symbol: str
    interval: Interval
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What the provider says the symbol is; None where it does not say, and then nobody guesses."""

    symbol: str
    """As its venue writes it."""
    asset_class: AssetClass
    currency: str
    exchange: str | None = None
    """ISO 10383 MIC or a venue code; `FX` for currency pairs."""
    name: str | None = None
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One answer: rows, and how to read their stamps."""

    rows: RawBars
    listing: Listing
    timezone: str = "UTC"
    """IANA zone of wall-clock stamps, and the zone in which `1d` and longer bars take their date."""
    wall_clock: bool = False
    """Whether `rows.stamp` are wall-clock times of `timezone` and not UTC instants."""
    rejections: list[tuple[str, str]] = field(default_factory=list)
    """Rows so broken that they have no columns: (reason, raw text)."""


class ProviderClient(ABC):
    """One vendor. An instance lives for one run; `http` retries, limits and redacts by itself."""

    spec: ClassVar[ProviderSpec]
    Settings: ClassVar[type[ProviderSettings]]

    def __init__(
        self, http: HttpClient, settings: ProviderSettings, *, now: Callable[[], datetime] = clock.now
    ) -> None:
        self.http = http
        self.settings = settings
        self.now = now

    def error(self, kind: type[ProviderError], message: str) -> ProviderError:
        """Make an error of this provider; secrets in the message are masked."""
        return kind(self.spec.name, self.http.redact(message))

    def require_interval(self, request: BarRequest) -> None:
        """Refuse what `spec.bases` does not offer.

        Raises:
            UnsupportedRequest: no such interval here.

        """
        if request.interval not in self.spec.bases:
            offered = ", ".join(self.spec.bases)
            raise self.error(UnsupportedRequest, f"has no {request.interval} bars; it has {offered}")

    @abstractmethod
    def fetch_bars(self, request: BarRequest) -> AsyncIterator[Page]:
        """Ask the vendor, page by page, in any order.

        At least one page comes, without rows where the vendor has none: it says what the symbol is. Rows
        outside start and end may be included; the caller cuts. Nothing half-read is yielded.

        Raises:
            ProviderError: one subclass for each kind of failure.

        """
